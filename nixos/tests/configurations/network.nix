# QEMU's user network: address, gateway. The kernel has no ip= and there is no DHCP client yet.
{ pkgs, ... }:
{
  boot.kernelModules = [ "virtio_net" ];
  rollinit.services.network = {
    kind = "oneshot";
    exec = [
      "${pkgs.busybox}/bin/sh" "-euc"
      ''
        ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
        route add default gw 10.0.2.2
      ''
    ];
    path = [ pkgs.busybox ];
  };
}
