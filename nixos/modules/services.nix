# `rollinit.services.NAME`: one definition file each, below /etc/rollinit/services.
#
# Option names are the keys of docs/services.md in camelCase. What is left at null is not written,
# so that the default is rollinit's own. Wrong types fail at the option; what needs more than one
# option to be judged (names in `after`, ports, paths) is in ../lib/checks.nix.
{ config, lib, pkgs, ... }:
let
  functions = import ../lib { inherit lib pkgs; };
  inherit (lib) mkOption types;
  inherit (builtins) attrNames filter listToAttrs map;

  inherit (functions.options) optional list group name process socket;

  service = { ... }: {
    options = process // {
      exec = list types.str "The program (an absolute path) and its arguments. No shell reads it.";
      kind = optional (types.enum [ "simple" "notify" "oneshot" ]) "When it counts as ready.";
      control = optional (types.enum [ "read" "operate" "admin" ])
        "What its processes may ask of the control socket; default: read.";
      listen = list (types.submodule {
        options = socket // {
          name = mkOption { type = name; description = "Its name in LISTEN_FDNAMES."; };
        };
      }) "Sockets that PID 1 keeps, passed as LISTEN_FDS.";
    };
  };

  enabled = filter (service: config.rollinit.services.${service}.enable)
    (attrNames config.rollinit.services);
  settings = functions.definition.inOrder config.rollinit.first config.rollinit.services;
  text = service: ''
    # from rollinit.services.${service}
    ${functions.toTOML (functions.definition.service settings.${service})}'';
in
{
  options.rollinit = {
    package = mkOption {
      type = types.package;
      default = pkgs.rollinit;
      description = "Where rollinit-init, its daemons and rollinit come from.";
    };
    first = mkOption {
      type = types.listOf name;
      default = [ ];
      description = "Services that all others but the early ones start after.";
    };
    services = mkOption {
      type = types.attrsOf (types.submodule service);
      default = { };
      description = "Services that rollinit runs.";
    };
  };
  config = {
    assertions = functions.checks {
      inherit (config.rollinit) services apps;
      users = attrNames config.users.users;
      groups = attrNames config.users.groups;
    };
    environment.etc = listToAttrs (map (service: {
      name = "rollinit/services/${service}.toml";
      value.text = text service;
    }) enabled);
  };
}
