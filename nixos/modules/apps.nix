# `rollinit.apps.NAME`: services whose program comes from a closure that is swapped, one definition
# file each, below /etc/rollinit/services.
#
# Option names are the keys of docs/apps.md in camelCase. What is left at null is not written, so
# that the default is rollinit's own. `closure` is a seed: it serves on a host that has no generation of
# the app yet; releases decide after that, and a new system changes nothing about it.
{ config, lib, pkgs, ... }:
let
  functions = import ../lib { inherit lib pkgs; };
  inherit (lib) mkOption types;
  inherit (builtins) attrNames filter isInt isString listToAttrs map mapAttrs;
  inherit (functions.options) optional list group duration name process socket;

  # Where a port alone is meant: every address of the host.
  address = listener: if isInt listener then "[::]:${toString listener}" else listener;
  listener = types.either types.port (types.either types.str (types.submodule {
    options = socket;
  }));

  probe = {
    every = optional duration "Time from one question to the next.";
    passes = optional types.int "Good answers in a row that it takes to pass the gate.";
    timeout = optional duration "How long one answer may take.";
    deadline = optional duration "How long it may take to pass the gate.";
  };
  listen = optional name "Which socket of `listen` is asked; default: the first TCP one.";
  health = {
    http = mkOption {
      type = types.nullOr (types.either types.str (types.submodule {
        options = probe // {
          inherit listen;
          path = optional types.str "What is asked for; an answer with status 200 to 299 is good.";
        };
      }));
      default = null;
      apply = value: if isString value then { path = value; } else value;
      description = "Ask by HTTP: a path, or { path; every; passes; timeout; deadline; listen; }.";
    };
    tcp = optional (types.submodule { options = probe // { inherit listen; }; })
      "Connect, and no more.";
    notify = optional (types.submodule { options = { inherit (probe) deadline; }; })
      "It says READY=1 by itself (sd_notify).";
  };
  swap = {
    strategy = optional (types.enum [ "overlap" "restart" "ports" ])
      "Side by side for a while, one after the other on the same socket, or on two `ports`.";
    drain = optional duration "How long the old version may take to finish what it accepted.";
    bake = optional duration "How long the old version stays, ready, after the switch.";
    watch = optional duration "How long after the swap failing health still leads back.";
    retire = optional (types.enum [ "after-bake" "at-switch" ]) "When the old version is stopped.";
    migrateLease = optional duration "How long bin/migrate outlives an agent that is gone.";
  };
  hooks = {
    afterSwitch = list types.str "Run after the switch; it fails, and the swap is taken back.";
    onRollback = list types.str "Run after a swap was taken back.";
  };

  app = { ... }: {
    options = process // {
      closure = optional types.path "What serves until there is a generation: a seed.";
      exec = list types.str "Program and arguments; default: [ \"\${closure}/bin/serve\" ].";
      migrate = optional types.str
        "Run before a swap; default: \${closure}/bin/migrate if it is there; \"\": never.";
      kind = optional (types.enum [ "simple" "notify" ]) "When it counts as ready.";
      listen = mkOption {
        type = types.attrsOf listener;
        default = { };
        apply = mapAttrs (_: address);
        description = "Sockets by their LISTEN_FDNAMES: a port, \"ADDRESS:PORT\", \"unix:/path\".";
      };
      ports = optional (types.listOf types.port) ''
        For an app that binds by itself: two ports, one for each side, told as $PORT. A load balancer
        in front (docs/balancers.md) moves users from one to the other.
      '';
      health = group health "How it is asked whether it is well: one of http, tcp and notify.";
      swap = group swap "How one version follows another.";
      hooks = group hooks "Programs that have a say, by absolute path or below \${closure}.";
    };
  };

  enabled = filter (app: config.rollinit.apps.${app}.enable) (attrNames config.rollinit.apps);
  settings = functions.definition.inOrder config.rollinit.first config.rollinit.apps;
  text = app: ''
    # from rollinit.apps.${app}
    ${functions.toTOML (functions.definition.app settings.${app})}'';
in
{
  options.rollinit.apps = mkOption {
    type = types.attrsOf (types.submodule app);
    default = { };
    description = "Apps that rollinit runs and swaps.";
  };
  config.environment.etc = listToAttrs (map (app: {
    name = "rollinit/services/${app}.toml";
    value.text = text app;
  }) enabled);
}
