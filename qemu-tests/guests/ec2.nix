# The guest of all EC2 tests: what an AMI is made of, and a way to run commands inside.
{ pkgs, ... }:
{
  imports = [ ../../nixos/ec2.nix ./agent.nix ];
  # What QEMU has in place of ENA.
  boot.kernelModules = [ "virtio_pci" "virtio_net" ];
  environment.systemPackages = [ pkgs.busybox ];
  # An account whose number the host gives, and what belongs to it.
  users.users.probe = { group = "probe"; home = "/var/lib/probe"; createHome = true; };
  users.groups.probe = { };
  rollinit.tmpfiles.rules = [ "d /var/lib/probe-made 0750 probe probe" ];
  # Who plays AWS: QEMU carries connections to this address to the harness.
  rollinit.cloud.endpoint = "http://169.254.0.101";
  # A test does not wait for a minute.
  rollinit.agent.credentials.poll = "2s";
}
