# `rollinit.agent`: the process that fetches closures and swaps apps. A service like any other, and
# a file of what it may fetch from whom, /etc/rollinit/agent.toml.
{ config, lib, pkgs, ... }:
let
  functions = import ../lib { inherit lib pkgs; };
  inherit (lib) mkIf mkOption types;
  inherit (functions.options) optional;
  cfg = config.rollinit.agent;
  settings = cfg.settings // {
    inherit (cfg) caches keys;
    fetch = {
      parallel-narinfos = cfg.fetch.parallelNarinfos;
      parallel-nars = cfg.fetch.parallelNars;
      stall-timeout = cfg.fetch.stallTimeout;
      give-up-after = cfg.fetch.giveUpAfter;
    };
    credentials = lib.filterAttrs (_: value: value != null) cfg.credentials;
  };
in
{
  options.rollinit.agent = {
    enable = mkOption {
      type = types.bool;
      default = config.rollinit.apps != { };
      description = "Whether the agent runs; by default if there are apps.";
    };
    caches = mkOption {
      type = types.listOf (types.strMatching "https?://[^ @?#]+");
      default = [ ];
      description = "Binary caches, asked in this order.";
    };
    keys = mkOption {
      # nix-store --generate-binary-cache-key: 32 bytes are 43 digits and a `=`.
      type = types.listOf (types.strMatching "[^: ]+:[A-Za-z0-9+/]{43}=");
      default = [ ];
      description = "Public keys, as NAME:BASE64. A path needs a signature by one of them.";
    };
    fetch = {
      parallelNarinfos = optional types.int "Descriptions of paths that are asked for at once.";
      parallelNars = optional types.int "Paths that are fetched at once.";
      stallTimeout = optional functions.options.duration
        "A connection that gives nothing for so long is made anew; default: 30s.";
      giveUpAfter = optional functions.options.duration
        "A cache that gives nothing for so long ends the swap as refused; default: 5m.";
    };
    credentials.poll = optional functions.options.duration
      "Time between two questions whether a secret of SSM changed; default: 60s.";
    settings = mkOption {
      type = types.attrsOf types.unspecified;
      default = { };
      description = "Further sections of agent.toml, one of each module that has any.";
    };
  };
  config = {
    assertions = [
      {
        assertion = cfg.caches == [ ] || cfg.keys != [ ];
        message = "rollinit.agent.caches: nothing could be fetched without a key to trust; "
          + "set rollinit.agent.keys to the caches' public keys";
      }
    ];
    environment.etc."rollinit/agent.toml" = mkIf cfg.enable {
      text = ''
        # from rollinit.agent
        ${functions.toTOML (functions.definition.withoutEmpty settings)}'';
    };
    rollinit.services = mkIf cfg.enable {
      rollinit-agent = {
        exec = [ "${config.rollinit.package}/bin/rollinit-agent" ];
        control = "admin";
        listen = [ { name = "varlink"; unix = "/run/rollinit/agent"; mode = "0666"; } ];
        # Whoever waits for a swap waits for the agent.
        restart = { policy = "always"; backoffMax = "2s"; };
        # Credentials of services pass through it.
        limits = { cpuWeight = 1000; swapMax = 0; };
      };
    };
  };
}
