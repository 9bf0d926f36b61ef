# `rollinit.bootSlots`: the host swaps its own system. A new generation gets an entry of the boot
# loader that is tried, blessed once it has come up, and left if it does not (docs/boot-slots.md).
# It becomes the section [system] of /etc/rollinit/agent.toml.
{ config, lib, pkgs, ... }:
let
  functions = import ../lib { inherit lib pkgs; };
  inherit (lib) mkIf mkOption types;
  inherit (functions.options) duration list optional;
  cfg = config.rollinit.bootSlots;
in
{
  options.rollinit.bootSlots = {
    enable = mkOption {
      type = types.bool;
      default = false;
      description = "Whether the host swaps its own system over boot entries.";
    };
    tries = optional types.ints.positive "Boots that a new generation gets; default: 1.";
    blessWithin = optional duration
      "Time from the kernel's start in which a boot has to be blessed; default: 10m.";
    blessAfter = optional duration
      "How long it has to have been up for that, without a break; default: 10s.";
    blessWhen = list types.str
      "Services that must be up for that, beside activate-* and network-online.";
    keep = optional types.ints.positive
      "Generations that stay on the boot partition, at least 2; default: 3.";
    watchdog = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether the kernel's software watchdog resets a host that hangs: PID 1 feeds it.
        rollinit.watchdog=SECONDS on the kernel command line says after what time (60), 0 turns it
        off.
      '';
    };
  };
  config = mkIf cfg.enable {
    rollinit.agent.enable = true;
    rollinit.agent.settings.system = {
      inherit (cfg) tries keep;
      bless-within = cfg.blessWithin;
      bless-after = cfg.blessAfter;
      bless-when = cfg.blessWhen;
    };
    # By stage 1, so that they are there before PID 1 looks: the boot partition and its charsets, what
    # the loader says of this boot, the watchdog. Nothing loads modules by itself later.
    boot.initrd.kernelModules = [ "vfat" "nls_cp437" "nls_ascii" "efivarfs" ]
      ++ (if cfg.watchdog then [ "softdog" ] else [ ]);
  };
}
