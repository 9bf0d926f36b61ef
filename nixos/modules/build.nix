# `system.build.toplevel` and `system.build.image`: what is built out of everything else.
{ config, lib, pkgs, ... }:
let
  functions = import ../lib { inherit lib pkgs; };
  inherit (lib) mkOption types;
  uuid = types.strMatching "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}";
  failed = builtins.filter (one: !one.assertion) config.assertions;
  checked = value:
    if failed == [ ] then value
    else throw "the configuration is not sound:\n${
      builtins.concatStringsSep "\n" (map (one: "- ${one.message}") failed)}";
in
{
  options.rollinit.image = {
    partitionUuid = mkOption {
      type = uuid;
      default = "6f6c6c72-6e69-4974-8000-000000000001";
      description = "PARTUUID of the root partition; root=PARTUUID=… on the command line names it.";
    };
    diskUuid = mkOption {
      type = uuid;
      default = "6f6c6c72-6e69-4974-8000-000000000002";
      description = "Identity of the disk's GPT.";
    };
    fileSystemUuid = mkOption {
      type = uuid;
      default = "6f6c6c72-6e69-4974-8000-000000000003";
      description = "UUID of the root file system, and the seed of its directory hashes.";
    };
    espPartitionUuid = mkOption {
      type = uuid;
      default = "6f6c6c72-6e69-4974-8000-000000000004";
      description = "PARTUUID of the EFI system partition, where boot.loader makes one.";
    };
    espMiB = mkOption {
      type = types.ints.positive;
      default = 256;
      description = "Size of that partition: kernel and initrd of each generation lie in it.";
    };
    journalMiB = mkOption {
      type = types.ints.positive;
      default = 16;
      description = "Size of the root file system's journal; it does not grow with the disk.";
    };
    freeMiB = mkOption {
      type = types.int;
      default = 64;
      description = "Room in the root file system for what the host writes, in MiB.";
    };
  };
  options.system.forbiddenDependenciesRegexes = mkOption {
    type = types.listOf types.str;
    default = [ ];
    description = "The image is not built if the name of a path in its closure matches one.";
  };
  options.system.build = {
    toplevel = mkOption { type = types.package; description = "The system, one store path."; };
    image = mkOption { type = types.package; description = "Derivation with disk.img."; };
    commandLine = mkOption { type = types.str; description = "The whole kernel command line."; };
  };
  config = {
    boot.kernelParams = [
      "root=PARTUUID=${config.rollinit.image.partitionUuid}"
      "rootfstype=ext4"
      "rw"
    ];
    system.build = {
      toplevel = checked (functions.toplevel {
        name =
          if config.networking.hostName == "" then "host" else config.networking.hostName;
        volatileEtc = config.rollinit.activate.enable;
        kernelModules = config.system.build.kernelModules;
        rollinit = config.rollinit.package;
        kernelFile = "${config.boot.kernelPackages.kernel}/bzImage";
        initrd = config.system.build.initrd;
        kernelParams = config.boot.kernelParams;
        etc = config.system.build.etc;
        packages = config.environment.systemPackages;
        system = "x86_64-linux";
      });
      image = functions.image {
        inherit (config.system.build) toplevel esp;
        inherit (config.rollinit.image)
          partitionUuid diskUuid fileSystemUuid freeMiB journalMiB espPartitionUuid espMiB;
        forbidden = config.system.forbiddenDependenciesRegexes;
      };
      commandLine = "init=${config.system.build.toplevel}/init ${
        builtins.concatStringsSep " " config.boot.kernelParams}";
    };
  };
}
