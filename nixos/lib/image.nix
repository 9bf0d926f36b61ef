# A disk: GPT with an ext4 partition, the last, that holds a system and its closure; before it, where
# the system has a boot loader, the EFI system partition. Same input, same bytes. Beside it `closure`:
# a line for each store path in it, its size in bytes first, the largest first.
#
# Needs no root, no loop device and no mount: mke2fs fills the file system from a directory, debugfs
# then sets what that directory cannot carry (owners, all times); mtools fill the FAT. UUIDs, the hash seed and the clock
# are given, since each would otherwise be random or now. The tools are named by their whole path:
# busybox's shell prefers its own applets (mke2fs is one) to what PATH leads to.
{ lib, pkgs, shellWord }:
{ toplevel
, partitionUuid               # PARTUUID of the root partition, as root=PARTUUID= has it
, diskUuid, fileSystemUuid
, label ? "rollinit"
, freeMiB ? 64                # room for what the guest writes
, journalMiB ? 16
, esp ? null                  # a directory for the EFI system partition
, espPartitionUuid ? null, espMiB ? 0
, forbidden ? [ ]             # extended regular expressions that no name in the closure may match
}:
let
  forbid = expression: ''
    if sed 's|^/nix/store/[^-]*-||' paths | grep -E ${shellWord expression} > found; then
      echo "image: system.forbiddenDependenciesRegexes has" ${shellWord expression} >&2
      echo "image: and the closure $(cat found)" >&2
      echo "image: \`nix why-depends\` tells what brings it" >&2
      exit 1
    fi
  '';
  # The FAT's serial number: eight digits of the partition's UUID, which is all it has room for.
  espSerial = builtins.substring 0 8 fileSystemUuid;
  firmware = esp != null;
  # In place: mkfs.vfat counts the offset in sectors and the size in KiB. Clusters of one sector:
  # with fewer than 65525 of them a FAT32 is taken for a FAT16.
  fillEsp = ''
    ${pkgs.dosfstools}/bin/mkfs.vfat --invariant -F 32 -s 1 -n ESP -i ${espSerial} \
      -h 2048 --offset 2048 $image $(( ${toString espMiB} * 1024 )) > log 2>&1 || { cat log >&2; exit 1; }
    (cd ${esp} && ${pkgs.mtools}/bin/mcopy -s -i "$image@@1M" * ::)
  '';
in
pkgs.runCommand "rollinit-image" {
  exportReferencesGraph = [ "closure" toplevel ];
  # mke2fs and debugfs take this for now; 1, as all files of a store have.
  E2FSPROGS_FAKE_TIME = "1";
  # mtools take this for the times of their copies; 1980 is where FAT's calendar begins.
  SOURCE_DATE_EPOCH = "315532800";
  # Our own, so that the host's cannot add to it.
  MKE2FS_CONFIG = pkgs.writeText "mke2fs.conf" ''
    [defaults]
      base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
      blocksize = 4096
      inode_size = 256
    [fs_types]
      small = {
        inode_ratio = 4096
      }
      ext4 = {
        features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
      }
  '';
} ''
  root=$PWD/root
  var=$root/nix/var/nix
  mkdir -p $root/nix/store $root/etc
  mkdir -p $var/profiles/per-user $var/profiles/rollinit $var/gcroots/rollinit $var/temproots
  grep '^/nix/store/' closure | sort -u > paths
  ${builtins.concatStringsSep "\n" (map forbid forbidden)}
  mkdir -p $out
  while read -r path; do
    cp -a "$path" $root/nix/store/
    find "$path" -type f -exec stat -c %s {} + |
      awk -v path="$path" '{ bytes += $1 } END { printf "%d %s\n", bytes, path }'
  done < paths | sort -rn > $out/closure

  # What boots is what the profile leads to, and what a profile leads to is not garbage.
  ln -s ${toplevel} $var/profiles/system-1-link
  ln -s system-1-link $var/profiles/system
  ln -s /nix/var/nix/profiles $var/gcroots/profiles

  # Nix's own database knows what is in the store: what is fetched later joins it.
  ${pkgs.rollinit-image-tools}/bin/rollinit-mkstore --root $root --registration closure

  # /etc: one link that a system swap can flip, and a link through it for each file.
  ln -s ${toplevel}/etc $root/etc/static
  (cd ${toplevel}/etc/ && find . -type l -o -type f) | sed 's|^\./||' | sort > names
  while read -r name; do
    mkdir -p "$(dirname "$root/etc/$name")"
    ln -s "/etc/static/$name" "$root/etc/$name"
  done < names
  while read -r mode uid gid name; do
    rm -f "$root/etc/$name"
    cp -L "${toplevel}/etc/$name" "$root/etc/$name"
    chmod "$mode" "$root/etc/$name"
    echo "$uid $gid /etc/$name" >> owners
  done < ${toplevel}/etc-copied

  for directory in bin dev home mnt proc root run sys tmp usr var var/empty var/lib var/log \
    var/tmp; do
    mkdir -p $root/$directory
  done
  chmod 1777 $root/tmp $root/var/tmp
  chmod 0700 $root/root
  chmod 0555 $root/proc $root/sys $root/var/empty
  ln -s ../run $root/var/run

  # Size: files in whole blocks, an inode each, a journal, and room.
  kib=$(find $root -type f -exec stat -c %s {} + |
    awk '{ kib += int(($1 + 4095) / 4096) * 4 } END { print kib }')
  entries=$(find $root | wc -l)
  mib=$(( (kib + entries * 5) / 1024 + 8 + ${toString (journalMiB + freeMiB)} ))
  start=${toString (if firmware then 1 + espMiB else 1)}
  image=$out/disk.img
  truncate -s $(( mib + start + 1 ))M $image

  # Of the Discoverable Partitions Specification (uapi-group.org).
  root_x86_64=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709
  esp=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
  ${pkgs.util-linux}/bin/sfdisk --quiet $image <<END
  label: gpt
  label-id: ${diskUuid}
  ${if !firmware then "" else
    "start=1MiB, size=${toString espMiB}MiB, type=$esp, uuid=${espPartitionUuid}, name=ESP"}
  start=''${start}MiB, size=''${mib}MiB, type=$root_x86_64, uuid=${partitionUuid}, name=${label}
  END

  offset=$(( start * 1048576 ))
  partition="$image?offset=$offset"
  now=lazy_itable_init=0,lazy_journal_init=0
  options=offset=$offset,root_owner=0:0,hash_seed=${fileSystemUuid},$now
  ${pkgs.e2fsprogs}/bin/mke2fs -q -t ext4 -N $(( entries + 16384 )) \
    -L ${label} -U ${fileSystemUuid} -J size=${toString journalMiB} -m 0 -E $options \
    -d $root $image ''${mib}M

  # Owners and times. A store's files have time 1; the rest gets the same.
  {
    (cd $root && find . | sed 's|^\.||; s|^$|/|' | sort) | while read -r path; do
      for field in uid gid atime_extra ctime_extra mtime_extra crtime_extra; do
        echo "sif \"$path\" $field 0"
      done
      for field in atime ctime mtime crtime; do echo "sif \"$path\" $field @1"; done
    done
    if [ -e owners ]; then
      while read -r uid gid path; do
        echo "sif \"$path\" uid $uid"
        echo "sif \"$path\" gid $gid"
      done < owners
    fi
  } > commands
  ${pkgs.e2fsprogs}/bin/debugfs -w -f commands "$partition" > log 2>&1
  # debugfs exits with 0 even so: there may be nothing but its banner and the echoed commands.
  if grep -v -e '^debugfs 1\.' -e '^debugfs: ' log; then
    echo "image: debugfs could not set owners and times" >&2
    exit 1
  fi
  ${pkgs.e2fsprogs}/bin/e2fsck -fn "$partition" > log 2>&1 || { cat log >&2; exit 1; }
  ${if firmware then fillEsp else ""}
''
