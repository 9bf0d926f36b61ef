#!/bin/sh
# nixos/debian.sh DIR: download the Debian packages that the offline build is made of and unpack
# them below DIR. Nothing is installed and no root is needed. Does nothing when DIR is complete.
#
#   DIR/debs/*.deb      the packages as downloaded
#   DIR/root/           the packages that every guest is made of, unpacked over one another: argument
#                       `debian`
#   DIR/interpreters/   Python and Node for the guests that run apps of other makes, likewise
#   DIR/kernel/         vmlinuz, config, lib/modules/VERSION (with modules.dep): argument `kernel`
#
# Needs apt-get with package lists, dpkg-deb, depmod (package kmod), all on any Debian or Ubuntu.
set -eu
if [ $# -ne 1 ]; then sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2; fi

# The kernel is named with its version: tests state facts about it (NVMe and ext4 built in).
kernel=linux-image-6.1.0-56-cloud-amd64
programs='busybox-static nginx patchelf e2fsprogs e2fsck-static xfsprogs fdisk dosfstools
  mtools systemd-boot-efi chrony'
# What those programs load, by hand rather than by apt's solver: `depends` would bring Perl along.
libraries='libc6 libgcc-s1 libstdc++6 libcrypt1 libpcre2-8-0 libssl3 zlib1g libext2fs2 libcom-err2
  libss2 libblkid1 libuuid1 libfdisk1 libsmartcols1 libreadline8 libtinfo6 libinih1 liburcu8
  libgnutls30 libnettle8 libhogweed6 libgmp10 libp11-kit0 libidn2-0 libunistring2 libtasn1-6 libffi8
  libcap2 libseccomp2 libedit2 libbsd0 libmd0'
configuration='nginx-common ca-certificates'
# Apart from the others, so that what most guests are made of stays small.
interpreters='python3.11-minimal libpython3.11-minimal libpython3.11-stdlib python3-gunicorn
  python3-pkg-resources libexpat1 libbz2-1.0 libffi8 liblzma5
  nodejs libnode108 libuv1 libc-ares2 libnghttp2-14 libbrotli1 libicu72
  node-acorn node-cjs-module-lexer node-undici node-busboy node-xtend'

mkdir -p "$1/debs"
cd "$1"
wanted=$(echo $kernel $programs $libraries $configuration $interpreters)
if [ "$(cat complete 2>/dev/null)" = "$wanted" ]; then exit 0; fi
rm -rf complete root kernel interpreters
missing=
for package in $wanted; do
  [ -n "$(find debs -name "${package}_*.deb" -print -quit)" ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
  # The sandbox user of apt may not write here; the files are checked against signed lists. What is
  # installed here does not matter: it may come from elsewhere.
  (cd debs && apt-get download -qq -o APT::Sandbox::User=root -o Dir::State::status=/dev/null \
    $missing) || {
    echo "debian.sh: apt-get could not download$missing; run \`apt-get update\` and try again" >&2
    exit 1
  }
fi

mkdir -p root interpreters unpacked-kernel kernel/lib
unpack() { # DEB DIRECTORY: without documentation, which nothing here reads
  dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --no-same-owner \
    --exclude=./usr/share/doc --exclude=./usr/share/man --exclude=./usr/share/locale \
    --exclude=./usr/lib/x86_64-linux-gnu/gconv --exclude=./usr/share/info
}
for package in $programs $libraries $configuration; do
  unpack "$(ls -t debs/${package}_*.deb | head -n 1)" root
done
for package in $interpreters; do
  unpack "$(ls -t debs/${package}_*.deb | head -n 1)" interpreters
done
unpack "$(ls -t debs/${kernel}_*.deb | head -n 1)" unpacked-kernel
mv unpacked-kernel/lib/modules kernel/lib/modules
mv unpacked-kernel/boot/vmlinuz-* kernel/vmlinuz
mv unpacked-kernel/boot/config-* kernel/config
PATH=$PATH:/usr/sbin:/sbin depmod -b "$PWD/kernel" "$(ls kernel/lib/modules)"
rm -rf unpacked-kernel
echo "$wanted" > complete
