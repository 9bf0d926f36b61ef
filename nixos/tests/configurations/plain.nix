# The least that boots: root on virtio-blk or NVMe, a serial console, one service that waits.
{ lib, pkgs, ... }:
{
  networking.hostName = lib.mkDefault "plain";
  # NVMe and ext4 are in Debian's cloud kernel, virtio is not.
  boot.initrd.kernelModules = [ "virtio_pci" "virtio_blk" "nvme" "ext4" ];
  # A panic ends QEMU (-no-reboot) instead of hanging the test.
  boot.kernelParams = [ "console=ttyS0" "panic=-1" ];
  environment.systemPackages = [ pkgs.busybox ];
  rollinit.services.idle.exec = [ "${pkgs.busybox}/bin/sleep" "infinity" ];
}
