# The system as one store path, laid out as NixOS boot loaders and tools expect it.
#
#   init            -> rollinit-init: what `init=` names; its supervisor lies beside it
#   kernel, initrd  what the boot loader loads;  kernel-params  one line of words
#   etc             -> the tree of /etc/static;  etc-copied: what is copied and not linked
#   sw              bin/ of the command line and of environment.systemPackages
#   system          x86_64-linux
#   volatile-etc    if its /etc is made at each boot: PID 1 mounts an empty one (docs/activate.md)
#   kernel-modules  -> the kernel's modules, if it has any, and modprobe, what the kernel runs for them
{ lib, pkgs, shellWord }:
{ name, rollinit, kernelFile, initrd, kernelParams, etc, packages, system
, volatileEtc ? false, kernelModules ? null
}:
let
  inherit (builtins) concatStringsSep map;
  farm = package: ''
    for file in ${package}/bin/*; do
      case ''${file##*/} in rollinit-init | rollinit-supervisor) continue ;; esac
      [ -e "$out/sw/bin/''${file##*/}" ] || ln -s "$file" $out/sw/bin/
    done
  '';
in
pkgs.runCommand "rollinit-system-${name}" { } ''
  mkdir -p $out/sw/bin
  ln -s ${rollinit}/bin/rollinit-init $out/init
  ln -s ${kernelFile} $out/kernel
  ln -s ${initrd}/initrd $out/initrd
  printf '%s' ${shellWord (concatStringsSep " " kernelParams)} > $out/kernel-params
  ln -s ${etc}/etc $out/etc
  ln -s ${etc}/copied $out/etc-copied
  printf '%s' ${shellWord system} > $out/system
  ${if volatileEtc then ": > $out/volatile-etc" else ""}
  ${if kernelModules == null then "" else ''
    ln -s ${kernelModules} $out/kernel-modules
    ln -s ${rollinit}/bin/rollinit-activate $out/modprobe
  ''}
  ${concatStringsSep "" (map farm ([ rollinit ] ++ packages))}
''
