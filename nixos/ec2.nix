# A system for EC2: everything that a host there needs, and no service of anybody's own.
#
# The flake's `nixosConfigurations.ec2` and the test guest qemu-tests/guests/ec2.nix are this module
# and no more than a few lines beside it. docs/ec2.md has the commands that make an AMI of it.
{ lib, pkgs, ... }:
{
  networking.hostName = lib.mkDefault "ec2";

  # /etc is that of whichever generation boots, and nothing of an image is in two hosts.
  rollinit.activate = {
    enable = true;
    # What EC2 has, and what people mount, filter and tunnel.
    kernelModules = lib.mkDefault [
      "kernel/arch/*" "kernel/block/*" "kernel/crypto/*" "kernel/lib/*"
      "kernel/drivers/acpi/*" "kernel/drivers/block/*" "kernel/drivers/char/*"
      "kernel/drivers/firmware/*" "kernel/drivers/input/*" "kernel/drivers/md/*"
      "kernel/drivers/net/ethernet/amazon/*" "kernel/drivers/net/ethernet/intel/*"
      "kernel/drivers/net/dummy.ko*" "kernel/drivers/net/ifb.ko*" "kernel/drivers/net/macvlan.ko*"
      "kernel/drivers/net/tun.ko*" "kernel/drivers/net/veth.ko*" "kernel/drivers/net/virtio_net.ko*"
      "kernel/drivers/net/vrf.ko*" "kernel/drivers/net/vxlan/*" "kernel/drivers/net/wireguard/*"
      "kernel/drivers/nvme/*" "kernel/drivers/ptp/*"
      "kernel/drivers/virtio/*" "kernel/drivers/watchdog/*" "kernel/drivers/xen/*"
      "kernel/fs/btrfs/*" "kernel/fs/efivarfs/*" "kernel/fs/erofs/*" "kernel/fs/ext4/*"
      "kernel/fs/fat/*" "kernel/fs/fuse/*" "kernel/fs/nfs/*" "kernel/fs/nls/*"
      "kernel/fs/overlayfs/*" "kernel/fs/pstore/*" "kernel/fs/squashfs/*" "kernel/fs/xfs/*"
      "kernel/net/8021q/*" "kernel/net/bridge/*" "kernel/net/core/*" "kernel/net/ipv4/*"
      "kernel/net/ipv6/*" "kernel/net/netfilter/*" "kernel/net/sched/*" "kernel/net/tls/*"
      "kernel/net/vmw_vsock/*" "kernel/net/xfrm/*"
    ];
  };

  boot.loader.systemd-boot.enable = true;
  # The system is swapped on the host itself, and a bad one is left by itself.
  rollinit.bootSlots.enable = true;
  # The journal stays as it is made, the disk grows.
  rollinit.image.journalMiB = 64;

  # A host has nothing on it that nobody asked for; who needs one of these says so by mkForce.
  system.forbiddenDependenciesRegexes = lib.mkDefault [ "^systemd" "^perl" "^bash" ];

  # Who the host is, its role, and the notices that EC2 gives it.
  rollinit.cloud.enable = true;
  # What it is for, where that is not of the image.
  rollinit.userData.enable = true;

  # What servers prove themselves by, where NixOS has it too.
  environment.etc."ssl/certs/ca-certificates.crt".source =
    "${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt";

  # Nitro: EBS volumes are NVMe, the network is ENA. Only what the root may need is for stage 1; it
  # loads what the machine has.
  boot.initrd.availableKernelModules = [ "nvme" "ext4" "virtio_pci" "virtio_blk" "xen_blkfront" ];
  # A volume is as large as its owner wanted, an image is as small as it can be.
  boot.growPartition = lib.mkDefault true;
  boot.initrd.checkFileSystem = lib.mkDefault pkgs.pkgsStatic.e2fsprogs;
  boot.kernelModules = [ "ena" ];

  rollinit.network = { enable = true; keepExpired = true; };
  # Whoever can ask it has the host's role.
  rollinit.guardedAddresses = [ "169.254.169.254" "fd00:ec2::254" ];
  # EC2's own clock, without a way out of the VPC.
  rollinit.chrony = { enable = true; servers = [ "169.254.169.123" ]; };

  boot.kernelParams = [
    # The serial console is the only one there is; EC2 keeps what is written to it.
    "console=ttyS0"
    # At once: the loader counts the try, and the next one may be another generation.
    "panic=-1"
    # An EBS volume that does not answer for a while is not broken: the largest value there is.
    "nvme_core.io_timeout=4294967295"
  ];
}
