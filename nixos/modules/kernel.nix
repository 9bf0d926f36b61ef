# The kernel, its parameters, and the modules that stage 1 loads.
{ config, lib, pkgs, ... }:
let
  functions = import ../lib { inherit lib pkgs; };
  inherit (lib) mkOption types;
  inherit (config.boot.kernelPackages) kernel;
  names = types.listOf (types.strMatching "[A-Za-z0-9_-]+");
in
{
  options.boot = {
    kernelPackages = mkOption {
      type = types.unspecified;
      default = pkgs.linuxPackages;
      description = "A set whose `kernel` has bzImage and (or `kernel.modules` has) lib/modules.";
    };
    kernelParams = mkOption {
      type = types.listOf (types.strMatching "[^ \t\n]+");
      default = [ ];
      description = "Words of the kernel command line.";
    };
    kernelModules = mkOption {
      type = names;
      default = [ ];
      description = ''
        Modules to load at boot. Stage 1 loads them, after those of boot.initrd.kernelModules:
        nothing else on the machine loads modules.
      '';
    };
    initrd.kernelModules = mkOption {
      type = names;
      default = [ ];
      description = "Modules that stage 1 loads in any case; what they depend on comes along.";
    };
    initrd.availableKernelModules = mkOption {
      type = names;
      default = [ ];
      description = ''
        Modules that stage 1 loads if a device of the machine, or the root's file system, wants them.
      '';
    };
    initrd.checkFileSystem = mkOption {
      type = types.nullOr types.package;
      default = null;
      description = ''
        Package with a static bin/e2fsck (pkgs.pkgsStatic.e2fsprogs), with which stage 1 checks a root
        that recorded errors. Without it such a root is mounted as it is, and that is said.
      '';
    };
    growPartition = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether the root's partition, if it is the last of its disk, and its file system take all the
        room of the disk. Done by stage 1 at every boot; usually there is nothing to do.
      '';
    };
    initrd.tools = mkOption {
      type = types.package;
      default = pkgs.rollinit-initrd-tools;
      description = "Where rollinit-stage1 and rollinit-mkinitrd come from.";
    };
  };
  options.system.build.initrd = mkOption {
    type = types.package;
    description = "Derivation with the initramfs as `initrd`.";
  };
  # Without its driver a power button (EC2's stop, QEMU's system_powerdown) is never heard of.
  config.boot.kernelModules = [ "button" ];
  # `gpt`: while the table is written its first copy may be torn, then the kernel takes the second.
  config.boot.kernelParams = lib.mkIf config.boot.growPartition [ "rollinit.grow" "gpt" ];
  config.system.build.initrd = functions.initrd {
    # nixpkgs keeps the modules in an output of their own in newer releases.
    tree = kernel.modules or kernel;
    inherit (config.boot.initrd) tools;
    modules = config.boot.initrd.kernelModules ++ config.boot.kernelModules;
    available = config.boot.initrd.availableKernelModules;
    checker = config.boot.initrd.checkFileSystem;
  };
}
