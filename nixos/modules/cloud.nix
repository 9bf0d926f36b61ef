# `rollinit.cloud`: that the system runs on EC2, and how the agent asks AWS from there. It becomes
# the section [cloud] of /etc/rollinit/agent.toml (docs/cloud.md).
{ config, lib, ... }:
let
  functions = import ../lib { inherit lib; pkgs = null; };
  inherit (lib) mkIf mkOption types;
  inherit (functions.options) duration list optional;
  cfg = config.rollinit.cloud;
  url = types.strMatching "https?://[^ @]+";
  answer = optional (types.strMatching "power-off|tell");
in
{
  options.rollinit.cloud = {
    enable = mkOption {
      type = types.bool;
      default = false;
      description = "Whether the host is an EC2 instance.";
    };
    region = optional (types.strMatching "[a-z0-9-]+") "The region; by default the instance's.";
    endpoint = optional url "Where all services are, in place of AWS.";
    endpoints = mkOption {
      type = types.attrsOf url;
      default = { };
      description = "Where single services are, by name; docs/cloud.md has the names.";
    };
    dualStack = mkOption {
      type = types.bool;
      default = false;
      description = "Whether AWS is asked at names that have IPv6 addresses too.";
    };
    proxy = optional url "The proxy through which AWS is asked; the metadata service never is.";
    noProxy = list types.str "Hosts that are asked directly all the same.";
    metadata = optional url "Where the metadata service is, in place of EC2's.";
    notices = {
      spot = answer "What a spot interruption leads to: power-off (the default) or tell.";
      rebalance = answer "What a rebalance recommendation leads to: tell (the default) or power-off.";
      scaleIn = answer "What the end by an Auto Scaling group leads to: power-off (the default) or tell.";
      poll = optional duration "The time between two looks, 5s by default.";
    };
  };
  config = mkIf cfg.enable {
    rollinit.agent.enable = true;
    # When the host leaves its Auto Scaling group, the agent stays until all others have stopped and
    # then tells the group (WITHIN_MAX in src/agent/src/notices/machine.rs). At any other time it
    # ends at once.
    rollinit.services.rollinit-agent.stop.timeout = "10m";
    # It has nobody to ask before, and goes before the network does.
    rollinit.services.rollinit-agent.after =
      if config.rollinit.network.enable then [ "network-online" ] else [ ];
    rollinit.agent.settings.cloud = {
      inherit (cfg) region endpoint endpoints proxy metadata;
      # Written in any case: an empty section would not be.
      dual-stack = cfg.dualStack;
      no-proxy = cfg.noProxy;
      notices = {
        inherit (cfg.notices) spot rebalance poll;
        scale-in = cfg.notices.scaleIn;
      };
    };
  };
}
