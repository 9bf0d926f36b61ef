# `rollinit.balancers.NAME`: the load balancers that send to this host. They become the sections
# [balancer.NAME] of /etc/rollinit/agent.toml (docs/balancers.md), and with the first one comes the
# service that holds up the end of the host until it is out of them.
{ config, lib, ... }:
let
  functions = import ../lib { inherit lib; pkgs = null; };
  inherit (lib) mkIf mkOption types;
  inherit (builtins) attrNames concatMap mapAttrs match;
  inherit (functions.options) duration list optional;
  cfg = config.rollinit.balancers;
  word = types.strMatching "[A-Za-z0-9_.:-]+";

  balancer = types.submodule {
    options = {
      kind = mkOption { type = types.enum [ "haproxy" "alb" ]; description = "What it is."; };
      app = mkOption { type = functions.options.name; description = "The app that it sends to."; };
      around = optional (types.enum [ "reboot" "restart" "always" ])
        "Around what the host leaves it: its end; also (the default) a swap that stops the old version first; any swap.";
      minHealthy = optional types.int "Others that stay while this host is out; 1 by default.";
      drain = optional duration "How long requests in flight may take.";
      floor = optional duration "How long it may go on sending after it was told not to.";
      join = optional duration "How long it may take until it finds the host well.";
      settle = optional duration "How long the host then has to stay well.";
      patience = optional duration "How long it may be away, and others sick; 10m by default.";
      port = optional types.int "The port of the servers or targets that are meant.";
      sockets = list (types.strMatching "/.+|.+:[0-9]{1,5}")
        "haproxy: where each one's runtime API is, HOST:PORT or a path.";
      servers = list (types.strMatching "[A-Za-z0-9_.:-]+/[A-Za-z0-9_.:-]+")
        "haproxy: this host's servers by name, BACKEND/SERVER.";
      backends = list word "haproxy: in place of servers, which are then found by this host's address.";
      address = optional types.str "haproxy: this host's address; by default that from which it is asked.";
      targetGroups = list types.str "alb: target groups, by name or ARN.";
      asg = optional (types.enum [ "standby" "suspend" "none" ])
        "alb: what the Auto Scaling group is told while the host is out; none by default.";
    };
  };

  section = balancer: {
    inherit (balancer) kind app around drain floor join settle patience port sockets servers;
    inherit (balancer) backends address asg;
    min-healthy = balancer.minHealthy;
    target-groups = balancer.targetGroups;
  };
  # What the agent would refuse, and with it all of agent.toml.
  check = name:
    let own = cfg.${name}; in
    [
      {
        assertion = config.rollinit.apps ? ${own.app};
        message = "rollinit.balancers.${name}.app: there is no app ${own.app}; "
          + "name one of rollinit.apps";
      }
      {
        assertion = match "[a-z0-9-]{1,32}" name != null;
        message = "rollinit.balancers.${name}: a name has 1 to 32 of a-z, 0-9 and -";
      }
      {
        assertion = if own.kind == "alb"
          then own.sockets == [ ] && own.servers == [ ] && own.backends == [ ] && own.address == null
          else own.targetGroups == [ ] && own.asg == null;
        message = "rollinit.balancers.${name}: an option of the other kind of balancer is set";
      }
      {
        assertion = own.kind != "alb" || (own.targetGroups != [ ] && config.rollinit.cloud.enable);
        message = "rollinit.balancers.${name}: an alb needs targetGroups, and rollinit.cloud.enable "
          + "to be asked";
      }
      {
        assertion = own.kind != "haproxy"
          || (own.sockets != [ ] && (own.servers == [ ]) != (own.backends == [ ]));
        message = "rollinit.balancers.${name}: haproxy needs sockets, and servers or backends";
      }
    ];
in
{
  options.rollinit.balancers = mkOption {
    type = types.attrsOf balancer;
    default = { };
    description = "Load balancers in front of this host.";
  };
  config = mkIf (cfg != { }) {
    assertions = concatMap check (attrNames cfg);
    rollinit.agent.enable = true;
    rollinit.agent.settings.balancer = mapAttrs (_: section) cfg;
    # Stopped before the agent and the apps, since it starts after them. How long it may take is
    # bounded by the shutdown as a whole.
    rollinit.services.rollinit-balancers = {
      exec = [ "${config.rollinit.package}/bin/rollinit" "hold-balancers" ];
      after = [ "rollinit-agent" ] ++ attrNames config.rollinit.apps;
      control = "admin";
      restart.policy = "always";
      stop.timeout = "10m";
    };
  };
}
