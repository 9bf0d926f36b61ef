# The initramfs: stage 1 and the modules it loads, packed by rollinit-mkinitrd (crate `initrd`).
#
# { tree, tools, modules } -> derivation with one file, `initrd`. `tree` has lib/modules/VERSION
# with modules.dep in it; `tools` has bin/rollinit-stage1 and bin/rollinit-mkinitrd.
{ lib, pkgs, shellWord }:
{ tree, tools, modules }:
pkgs.runCommand "rollinit-initrd" { } ''
  mkdir -p $out
  ${tools}/bin/rollinit-mkinitrd --stage1 ${tools}/bin/rollinit-stage1 \
    --modules ${tree}/lib/modules/* \
    ${builtins.concatStringsSep " " (map (name: "--want ${shellWord name}") modules)} \
    --output $out/initrd
''
