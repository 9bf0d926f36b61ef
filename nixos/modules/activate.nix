# `rollinit.activate`: a host whose /etc, accounts and settings are made at each boot, by services of
# their own that all others start after. docs/activate.md.
{ config, lib, pkgs, ... }:
let
  functions = import ../lib { inherit lib pkgs; };
  inherit (lib) mkIf mkOption types;
  inherit (builtins) attrNames filter listToAttrs map toString;
  cfg = config.rollinit.activate;
  program = "${config.rollinit.package}/bin/rollinit-activate";
  inherit (config.boot.kernelPackages) kernel;

  # Task -> the tasks whose work it builds on.
  tasks = {
    clock = [ ];
    etc = [ ];
    host-name = [ ];
    machine-id = [ ];
    # What it may have been told by name is there before it asks for it.
    sysctl = [ "modules" ];
    users = [ "etc" ];
    # `%m` and `%H`, and owners by name.
    tmpfiles = [ "etc" "host-name" "machine-id" "users" ];
    # Made for a machine.
    random-seed = [ "clock" "machine-id" ];
  };
  service = name: after: {
    exec = [ program name ];
    kind = "oneshot";
    early = true;
    after = map (task: "activate-${task}") after;
  };
in
{
  options.rollinit.activate = {
    enable = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether /etc is a tmpfs that is made anew at each boot of the system that boots, with all that
        belongs to it: accounts, files and directories, settings of the kernel, machine id, drivers.
      '';
    };
    clockFloor = mkOption {
      type = types.nullOr types.ints.unsigned;
      default = null;
      description = ''
        When this system was made, in seconds since 1970: the clock is never earlier. In a flake:
        `self.lastModified`. Default: when this version of rollinit was made.
      '';
    };
    kernelModules = mkOption {
      type = types.listOf (types.strMatching "[A-Za-z0-9_./*?-]+");
      default = [ "*" ];
      example = [ "kernel/drivers/net/*" "kernel/fs/xfs/*" ];
      description = ''
        Which of the kernel's modules the system has, as patterns of sh(1) for their paths; what they
        need comes along. `[ ]`: none beside those of the initrd.
      '';
    };
  };
  options.system.build.kernelModules = mkOption {
    type = types.nullOr types.package;
    description = "Derivation with lib/modules/VERSION, or null.";
  };

  config = {
    system.build.kernelModules =
      if !cfg.enable || cfg.kernelModules == [ ] then null
      else if cfg.kernelModules == [ "*" ] then kernel.modules or kernel
      else functions.kernelModules {
        tree = kernel.modules or kernel;
        patterns = cfg.kernelModules;
      };

    rollinit.services = mkIf cfg.enable (listToAttrs (map (name: {
      name = "activate-${name}";
      value = service name tasks.${name};
    }) (attrNames tasks)) // {
      # It stays, for devices to come.
      activate-modules = { exec = [ program "modules" ]; kind = "notify"; early = true; };
    });
    # Who needs random numbers waits in the kernel, by itself.
    rollinit.first = mkIf cfg.enable (map (name: "activate-${name}")
      (filter (name: name != "random-seed") (attrNames tasks) ++ [ "modules" ]));

    environment.etc."rollinit/clock-floor" = mkIf (cfg.enable && cfg.clockFloor != null) {
      text = "${toString cfg.clockFloor}\n";
    };
  };
}
