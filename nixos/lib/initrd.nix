# The initramfs: stage 1 and its modules, packed by rollinit-mkinitrd (crate `initrd`).
#
# Gives a derivation with one file, `initrd`. `tree` has lib/modules/VERSION with modules.dep in it;
# `tools` has bin/rollinit-stage1 and bin/rollinit-mkinitrd; of the modules, `modules` load in any
# case and `available` when a device or the root's file system wants them; `checker` is null or has a
# static bin/e2fsck.
{ lib, pkgs, shellWord }:
{ tree, tools, modules, available, checker }:
let
  each = option: names:
    builtins.concatStringsSep " " (map (name: "${option} ${shellWord name}") names);
in
pkgs.runCommand "rollinit-initrd" { } ''
  mkdir -p $out
  ${tools}/bin/rollinit-mkinitrd --stage1 ${tools}/bin/rollinit-stage1 \
    --modules ${tree}/lib/modules/* \
    ${each "--want" modules} ${each "--available" available} \
    ${if checker == null then "" else "--check ${checker}/bin/e2fsck"} \
    --output $out/initrd
''
