#!/bin/sh
# nixos/build.sh: build one guest offline with Debian's Nix, in a private store below target/nix.
#
#   nixos/build.sh --out DIR --configuration FILE.nix --rollinit DIR [--test-apps DIR]
#                  [--inputs DIR] [--target DIR] [--attribute NAME]
#   nixos/build.sh --out DIR --paths FILE.nix --cache DIR --secret-key FILE --rollinit DIR […]
#
#   --rollinit DIR     DIR/bin/{rollinit-init,rollinit-supervisor,rollinit-agent,rollinit-activate,
#                      rollinit-network,rollinit,rollinit-stage1,rollinit-mkinitrd,
#                      rollinit-mkstore}: static programs, as files, not links
#   --test-apps DIR    static programs in DIR/bin, and more, for pkgs.rollinit-test-apps
#   --inputs DIR       what nixos/debian.sh made (default: TARGET/debian; made when missing)
#   --target DIR       where the store and Nix's configuration live (default: ./target of the tree)
#   --attribute NAME   attribute of nixos/offline.nix (default: boot)
#   --paths FILE       a function { pkgs } -> { NAME = package; }, for the attribute `paths`
#   --cache DIR        copy the closures of `paths` to a binary cache (zstd), signed with the key in
#                      --secret-key FILE
#   --check            build what is built already once more, and fail if its bytes differ
#
# Leaves in --out (links lead to real files below TARGET, usable outside of the private mount):
#   image, kernel, initrd      links to the disk image (raw, GPT, read-only: boot with snapshot=on),
#                              the kernel and the initramfs
#   closure                    link to a text: each store path in the image after its size in bytes,
#                              the largest first
#   definitions                link to the directory of service definitions (for `rollinit check`)
#   toplevel                   text: /nix/store/...-rollinit-system-HOST, as the guest sees it
#   kernel-params              text: the kernel command line without init=
#   command-line               text: the whole kernel command line
# With another --attribute: only `result`, a link to its real output.
#
# Same inputs, same outputs: a call with nothing changed takes about a second and builds nothing.
# `nixos/build.sh --collect [--target DIR]` deletes what no --out refers to any more, from the private
# store; where /nix is a real store it leaves that to `nix-store --gc`.
# Needs nix-bin (2.8 or newer). As root it mounts TARGET/nix on /nix in a mount namespace of its own
# and leaves nothing outside of TARGET but an empty /nix. Where /nix is a real store, that is used.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
usage() { sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//;p}' "$0"; }
fail() { echo "nixos/build.sh: $*" >&2; exit 1; }

out= configuration= rollinit= test_apps= inputs= collect= check= paths= cache= secret_key=
target=$here/../target attribute=boot
while [ $# -gt 0 ]; do
  case $1 in
    --out) out=$2 ;; --configuration) configuration=$2 ;; --rollinit) rollinit=$2 ;;
    --test-apps) test_apps=$2 ;; --inputs) inputs=$2 ;; --target) target=$2 ;;
    --attribute) attribute=$2 ;; --paths) paths=$2 attribute=paths ;;
    --cache) cache=$2 ;; --secret-key) secret_key=$2 ;;
    --collect) collect=1; shift; continue ;;
    --check) check=--check; shift; continue ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
  [ $# -ge 2 ] || fail "$1 needs a value"
  shift 2
done
command -v nix-build > /dev/null ||
  fail "nix-build is not installed; write: apt-get install nix-bin"
mkdir -p "$target" && target=$(realpath "$target")

export NIX_CONF_DIR="$target/nix-conf" XDG_CACHE_HOME="$target/nix-cache" NIX_REMOTE=local
mkdir -p "$NIX_CONF_DIR" "$XDG_CACHE_HOME"
# No substituters: each build would first wait for them. No build users, no sandbox: a CI container
# may have neither the accounts nor the right to make namespaces; all inputs are store paths anyway.
cat > "$NIX_CONF_DIR/nix.conf.new" <<CONF
experimental-features = nix-command
substituters =
build-users-group =
sandbox = false
CONF
mv "$NIX_CONF_DIR/nix.conf.new" "$NIX_CONF_DIR/nix.conf"

# The store: a bind mount on /nix, so that store paths read as they will in the guest.
case $(realpath "$(command -v nix-build)") in
  /nix/*) private= ;;
  *) private=$target/nix; mkdir -p "$private" ;;
esac
in_store() {
  if [ -z "$private" ]; then unset NIX_REMOTE NIX_CONF_DIR; "$@"; return; fi
  [ -d /nix ] || mkdir /nix 2> /dev/null || fail "/nix is missing; write: sudo mkdir /nix"
  namespace=-m
  [ "$(id -u)" = 0 ] || namespace=-rm
  # shellcheck disable=SC2016  # $0 is for the inner shell
  unshare $namespace --propagation private \
    sh -c 'mount --bind "$0" /nix && exec "$@"' "$private" "$@"
}
if [ -n "$collect" ]; then
  # The store of the machine is its owner's to clean.
  [ -z "$private" ] || in_store nix-store --gc --quiet
  exit
fi

[ -n "$out" ] || fail "--out is missing"
[ -n "$configuration$paths" ] || fail "--configuration is missing"
for file in "$configuration" "$paths"; do
  [ -z "$file" ] || [ -f "$file" ] || fail "$file: no such file"
done
[ -d "$rollinit/bin" ] || fail "--rollinit $rollinit: no bin/ in it"
[ -z "$test_apps" ] || [ -d "$test_apps/bin" ] || fail "--test-apps $test_apps: no bin/ in it"
[ -z "$cache" ] || [ -f "$secret_key" ] ||
  fail "--secret-key is missing; write: nix-store --generate-binary-cache-key NAME FILE FILE.public"
if [ -z "$inputs" ]; then inputs=$target/debian; "$here/debian.sh" "$inputs"; fi
mkdir -p "$out" && out=$(realpath "$out")
inputs=$(realpath "$inputs")
set -- "$here/offline.nix" -A "$attribute" --argstr rollinit "$(realpath "$rollinit")" \
  --argstr kernel "$inputs/kernel" --argstr debian "$inputs/root" \
  --argstr interpreters "$inputs/interpreters"
[ -z "$configuration" ] || set -- "$@" --argstr configuration "$(realpath "$configuration")"
[ -z "$paths" ] || set -- "$@" --argstr paths "$(realpath "$paths")"
[ -z "$test_apps" ] || set -- "$@" --argstr testApps "$(realpath "$test_apps")"
# The link is also the garbage collector's root. Only a new or changed build prints its log.
store_path=$(in_store nix-build --quiet $check "$@" -o "$out/root") || exit 1

real() { # /nix/store/... as seen outside of the namespace
  if [ -n "$private" ]; then echo "$private${1#/nix}"; else echo "$1"; fi
}
if [ -n "$cache" ]; then
  mkdir -p "$cache"
  in_store nix copy --quiet \
    --to "file://$(realpath "$cache")?compression=zstd&secret-key=$(realpath "$secret_key")" \
    "$store_path"
fi
if [ "$attribute" != boot ]; then ln -sfn "$(real "$store_path")" "$out/result"; exit; fi
for name in image closure kernel initrd definitions; do
  ln -sfn "$(real "$(readlink "$(real "$store_path")/$name")")" "$out/$name"
done
for name in toplevel kernel-params command-line; do
  cp -f "$(real "$store_path")/$name" "$out/$name" && chmod u+w "$out/$name"
done
