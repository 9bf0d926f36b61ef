# `users.users` and `users.groups`: accounts, all locked.
#
# With `rollinit.activate` the host gives those a number that state none, and remembers it. Without,
# each states its own: the files are in the image as they are.
{ config, lib, pkgs, ... }:
let
  functions = import ../lib { inherit lib pkgs; };
  inherit (lib) mkOption types mkDefault;
  inherit (builtins) attrNames concatMap elem filter length map mapAttrs match;
  cfg = config.users;
  remembers = config.rollinit.activate.enable;
  number = types.nullOr types.int;
  field = types.strMatching "[^:\n]*";

  user = { name, ... }: {
    options = {
      uid = mkOption {
        type = number;
        default = null;
        description = "Its number; null: the host gives it one, with rollinit.activate.";
      };
      isNormalUser = mkOption {
        type = types.bool;
        default = false;
        description = "Whether it is a person's: its number is then 1000 or above.";
      };
      createHome = mkOption {
        type = types.bool;
        default = false;
        description = "Whether its home directory is made, mode 0700.";
      };
      group = mkOption { type = types.str; description = "Primary group."; };
      extraGroups = mkOption {
        type = types.listOf types.str;
        default = [ ];
        description = "Further groups.";
      };
      description = mkOption { type = field; default = ""; description = "Who it is."; };
      home = mkOption { type = field; default = "/var/empty"; description = "Home directory."; };
      shell = mkOption {
        type = types.either types.package types.str;
        default = "/run/current-system/sw/bin/nologin";
        description = "Shell.";
      };
    };
  };
  group = {
    options.gid = mkOption {
      type = number;
      default = null;
      description = "Its number; null: the host gives it one, with rollinit.activate.";
    };
    options.members = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Users in it.";
    };
  };

  require = condition: message: { assertion = condition; inherit message; };
  badName = option: name: require (match "[a-z_][a-z0-9_-]{0,30}" name != null)
    "${option}: ${builtins.toJSON name} is not an account name; use a-z, 0-9, - and _";
  hasGroup = option: name: require (elem name (attrNames cfg.groups))
    "${option}: there is no group ${builtins.toJSON name}; add users.groups.${name}.gid";
  stated = set: key: filter (name: set.${name}.${key} != null) (attrNames set);
  unique = option: set: key: map (name:
    let same = filter (other: set.${other}.${key} == set.${name}.${key}) (attrNames set); in
    require (length same == 1)
      "${option}.${name}.${key}: ${toString set.${name}.${key}} is taken by ${toString same}")
    (stated set key);
  hasNumber = option: set: key: map (name: require (remembers || set.${name}.${key} != null)
    "${option}.${name}.${key}: state its number, or set rollinit.activate.enable = true")
    (attrNames set);
  ofFile = {
    users = mapAttrs (_: user: {
      inherit (user) uid group description home shell;
      extra-groups = user.extraGroups;
      create-home = user.createHome;
      normal = user.isNormalUser;
    }) cfg.users;
    groups = mapAttrs (_: group: { inherit (group) gid members; }) cfg.groups;
  };
  ofUser = name: [ (badName "users.users" name) ]
    ++ [ (hasGroup "users.users.${name}.group" cfg.users.${name}.group) ]
    ++ map (hasGroup "users.users.${name}.extraGroups") cfg.users.${name}.extraGroups;
in
{
  options.users = {
    users = mkOption {
      type = types.attrsOf (types.submodule user);
      default = { };
      description = "Accounts.";
    };
    groups = mkOption {
      type = types.attrsOf (types.submodule group);
      default = { };
      description = "Groups.";
    };
  };
  config = {
    users.users.root = {
      uid = mkDefault 0;
      group = mkDefault "root";
      home = mkDefault "/root";
      description = mkDefault "System administrator";
    };
    users.users.nobody = { uid = mkDefault 65534; group = mkDefault "nogroup"; };
    # devpts is mounted with group 3, as in NixOS.
    # The two last ones are roles of the control socket.
    users.groups = {
      root.gid = mkDefault 0;
      nogroup.gid = mkDefault 65534;
      tty.gid = mkDefault 3;
      rollinit.gid = mkDefault 900;
      rollinit-read.gid = mkDefault 901;
    };
    assertions = concatMap ofUser (attrNames cfg.users)
      ++ map (badName "users.groups") (attrNames cfg.groups)
      ++ unique "users.users" cfg.users "uid"
      ++ unique "users.groups" cfg.groups "gid"
      ++ hasNumber "users.users" cfg.users "uid"
      ++ hasNumber "users.groups" cfg.groups "gid";
    environment.etc = if remembers then {
      "rollinit/users.toml".text = "# from users.users and users.groups\n"
        + functions.toTOML ofFile;
    } else {
      passwd.text = functions.accounts.passwd cfg.users cfg.groups;
      group.text = functions.accounts.group cfg.users cfg.groups;
      shadow = { text = functions.accounts.shadow cfg.users; mode = "0600"; };
    };
  };
}
