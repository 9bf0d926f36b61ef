# `rollinit.fleet`: the group of hosts that releases roll over, and the ledger that keeps its records.
# It becomes the section [fleet] of /etc/rollinit/agent.toml (docs/rollout.md, docs/ledger.md). What
# is not said here, user-data may say: one image for staging and production.
{ config, lib, ... }:
let
  functions = import ../lib { inherit lib; pkgs = null; };
  inherit (lib) mkIf mkOption types;
  inherit (functions.options) optional;
  cfg = config.rollinit.fleet;
  name = types.strMatching "[A-Za-z0-9_:@-][A-Za-z0-9_.:@-]{0,127}";
in
{
  options.rollinit.fleet = {
    enable = mkOption {
      type = types.bool;
      default = false;
      description = "Whether the host is a member of a group.";
    };
    ledger = optional (types.strMatching "[a-z0-9]+://[^ ]+")
      "The ledger: dynamodb://TABLE, s3://BUCKET/PREFIX, etcd://HOST:2379/PREFIX, etcds://….";
    group = optional name "The group.";
    host = optional name "What the host is called there: by default its instance id, or its name.";
  };
  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = (cfg.ledger != null && cfg.group != null) || config.rollinit.userData.enable;
        message = "rollinit.fleet: set ledger and group, or let user-data say them "
          + "(rollinit.userData.enable)";
      }
    ];
    rollinit.agent.enable = true;
    # It goes before the network does, so that it can say that it goes. On EC2 cloud.nix says so.
    rollinit.services.rollinit-agent.after =
      if config.rollinit.network.enable && !config.rollinit.cloud.enable
      then [ "network-online" ]
      else [ ];
    # Said in any case: an empty section would not be written, and user-data may say the rest.
    rollinit.agent.settings.fleet = { inherit (cfg) enable ledger group host; };
  };
}
