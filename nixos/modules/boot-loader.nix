# `boot.loader`: systemd-boot and its EFI system partition in the image. Without it an image has a
# root partition only, for a machine that is given kernel and command line (QEMU's -kernel).
{ config, lib, pkgs, ... }:
let
  functions = import ../lib { inherit lib pkgs; };
  inherit (lib) mkIf mkOption types;
  cfg = config.boot.loader;
in
{
  options.boot.loader = {
    timeout = mkOption {
      type = types.ints.unsigned;
      default = 0;
      description = "Seconds for which the loader shows its menu; 0: a key held down shows it.";
    };
    systemd-boot = {
      enable = mkOption {
        type = types.bool;
        default = false;
        description = "Whether the image starts by UEFI.";
      };
      loader = mkOption {
        type = types.path;
        default = "${pkgs.systemd}/lib/systemd/boot/efi/systemd-bootx64.efi";
        description = "The loader: one file, copied; nothing of its package comes along.";
      };
      tries = mkOption {
        type = types.ints.positive;
        default = 3;
        description = "Boots that an entry gets before the loader falls back to the one before.";
      };
    };
  };
  options.system.build.esp = mkOption {
    type = types.nullOr types.package;
    default = null;
    description = "What lies in the EFI system partition of the image.";
  };
  config.system.build.esp = mkIf cfg.systemd-boot.enable (functions.esp {
    inherit (config.system.build) toplevel;
    inherit (cfg.systemd-boot) loader tries;
    timeoutSeconds = cfg.timeout;
  });
}
