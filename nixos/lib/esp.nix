# What lies in the EFI system partition when an image is made: systemd-boot where a machine with
# empty EFI variables looks for it, and one boot entry, the system's first generation.
#
#   EFI/BOOT/BOOTX64.EFI            the loader, at the removable media path of the UEFI specification
#   loader/loader.conf              no menu, no editor, the highest generation first
#   loader/entries/rollinit-1+3.conf   type 1 of the Boot Loader Specification (uapi-group.org); `+3`:
#                                   the loader counts three tries, the agent takes the counter off
#   rollinit/kernel-HASH, rollinit/initrd-HASH   named by their store paths, which name their content
#
# The agent writes later generations the same way (docs/boot-slots.md).
{ lib, pkgs, shellWord }:
{ toplevel, loader, timeoutSeconds, tries }:
pkgs.runCommand "rollinit-esp" { } ''
  mkdir -p $out/EFI/BOOT $out/loader/entries $out/rollinit
  cp ${loader} $out/EFI/BOOT/BOOTX64.EFI
  cat > $out/loader/loader.conf <<END
  timeout ${toString timeoutSeconds}
  editor no
  default rollinit-*
  END

  # PART: the file's name in the partition.
  place() {
    file=$(readlink -f ${toplevel}/$1)
    hash=''${file#/nix/store/}
    cp "$file" "$out/rollinit/$1-''${hash%%-*}"
    echo "/rollinit/$1-''${hash%%-*}"
  }
  kernel=$(place kernel)
  initrd=$(place initrd)
  cat > $out/loader/entries/rollinit-1+${toString tries}.conf <<END
  title rollinit, generation 1
  sort-key rollinit
  version 1
  linux $kernel
  initrd $initrd
  options init=${toplevel}/init $(cat ${toplevel}/kernel-params)
  END
''
