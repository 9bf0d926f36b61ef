# `rollinit.network`: the host's network by DHCP and router advertisements (docs/network.md). The
# service `network-online` is ready when the host is online.
{ config, lib, pkgs, ... }:
let
  functions = import ../lib { inherit lib pkgs; };
  inherit (lib) mkIf mkOption types;
  inherit (builtins) concatMap concatStringsSep;
  cfg = config.rollinit.network;
  address = types.strMatching "[0-9.]+|[0-9a-fA-F:.]+:[0-9a-fA-F:.]*";
in
{
  options.rollinit = {
    network = {
      enable = mkOption {
        type = types.bool;
        default = false;
        description = "Whether rollinit brings the host onto its network.";
      };
      interfaces = functions.options.list (types.strMatching "[^/ ]{1,15}")
        "Interfaces to look after; none: all Ethernet devices.";
      hostName = mkOption {
        type = types.bool;
        default = config.networking.hostName == "";
        description = "Whether the host is called what the network calls it.";
      };
      keepExpired = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether an address is used on when its lease is over and no server answers. Right where
          addresses belong to machines, as on EC2; wrong where they are given to others then.
        '';
      };
    };
    guardedAddresses = mkOption {
      type = types.listOf address;
      default = [ ];
      description = ''
        Addresses that only root and the users of services with `imds = true` can reach: those of
        the cloud's metadata service.
      '';
    };
  };
  config = {
    environment.etc = {
      "resolv.conf" = mkIf cfg.enable { source = "/run/rollinit/resolv.conf"; };
      "rollinit/guarded-addresses" = mkIf (config.rollinit.guardedAddresses != [ ]) {
        text = concatStringsSep "" (map (one: "${one}\n") config.rollinit.guardedAddresses);
      };
    };
    rollinit.services = mkIf cfg.enable {
      network-online = {
        exec = [ "${config.rollinit.package}/bin/rollinit-network" "run" ]
          ++ concatMap (name: [ "--interface" name ]) cfg.interfaces
          ++ (if cfg.hostName then [ "--host-name" ] else [ ])
          ++ (if cfg.keepExpired then [ "--keep-expired" ] else [ ]);
        kind = "notify";
        # It needs nothing of what the others wait for, and they may need it.
        early = true;
        # A network that is late is waited for; the daemon says what it waits for.
        ready.timeout = "365d";
        restart = { policy = "always"; backoffMax = "2s"; };
        oomScoreAdjust = -900;
      };
    };
  };
}
