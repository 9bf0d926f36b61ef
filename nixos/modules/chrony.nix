# `rollinit.chrony`: the host's clock by NTP, kept by chronyd.
{ config, lib, pkgs, ... }:
let
  functions = import ../lib { inherit lib pkgs; };
  inherit (lib) mkIf mkOption types;
  cfg = config.rollinit.chrony;
  lines = builtins.concatStringsSep "\n";
  settings = pkgs.writeText "chrony.conf" ''
    ${lines (map (server: "server ${server} iburst minpoll 4 maxpoll 6") cfg.servers)}
    # While the clock is wrong by more than this it jumps, but only in the first three updates: what
    # runs by then has seen the old time for seconds at most.
    makestep 1.0 3
    driftfile /var/lib/chrony/drift
    rtcsync
    ${cfg.extraConfig}
  '';
in
{
  options.rollinit.chrony = {
    enable = mkOption {
      type = types.bool;
      default = false;
      description = "Whether chronyd keeps the clock.";
    };
    package = mkOption {
      type = types.package;
      default = pkgs.chrony;
      description = "Where bin/chronyd and bin/chronyc come from.";
    };
    servers = functions.options.list (types.strMatching "[^ \n]+")
      "NTP servers, names or addresses.";
    extraConfig = mkOption {
      type = types.lines;
      default = "";
      description = "Further lines of chrony.conf(5).";
    };
  };
  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.servers != [ ];
        message = "rollinit.chrony.servers is empty; name a server, on EC2 \"169.254.169.123\"";
      }
    ];
    # NixOS's numbers.
    users.users.chrony = { uid = 61; group = "chrony"; description = "NTP"; };
    users.groups.chrony.gid = 61;
    environment.systemPackages = [ cfg.package ];
    rollinit.tmpfiles.rules = [ "d /var/lib/chrony 0750 chrony chrony" ];
    rollinit.services.chrony = {
      # In the foreground, its words on stderr. It begins as root, since it makes the directory of
      # its command socket and keeps the right to set the clock, and is `chrony` from then on.
      exec = [ "${cfg.package}/bin/chronyd" "-d" "-u" "chrony" "-f" "${settings}" ];
      after = if config.rollinit.network.enable then [ "network-online" ] else [ ];
    };
  };
}
