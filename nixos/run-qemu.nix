# bin/rollinit-qemu: boot a system in QEMU, its serial console on this terminal (C-a x ends it).
{ pkgs, config }:
let
  inherit (config.system) build;
in
pkgs.writeShellScriptBin "rollinit-qemu" ''
  exec ${pkgs.qemu}/bin/qemu-system-x86_64 -accel kvm -accel tcg -m 512 -nographic -no-reboot \
    -kernel ${config.boot.kernelPackages.kernel}/bzImage -initrd ${build.initrd}/initrd \
    -append "${build.commandLine}" \
    -drive file=${build.image}/disk.img,format=raw,if=virtio,snapshot=on "$@"
''
