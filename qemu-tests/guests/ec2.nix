# The guest of all EC2 tests: what an AMI is made of, and a way to run commands inside.
{ pkgs, ... }:
{
  imports = [ ../../nixos/ec2.nix ./agent.nix ];
  # What QEMU has in place of ENA.
  boot.kernelModules = [ "virtio_pci" "virtio_net" ];
  environment.systemPackages = [ pkgs.busybox ];
}
