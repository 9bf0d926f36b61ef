# `environment.etc`, as in NixOS: files below /etc.
{ config, lib, pkgs, ... }:
let
  functions = import ../lib { inherit lib pkgs; };
  inherit (lib) mkOption types;
  base = name: builtins.replaceStrings [ "/" ] [ "-" ] name;
  file = { name, config, ... }: {
    options = {
      enable = mkOption {
        type = types.bool;
        default = true;
        description = "Whether the file exists.";
      };
      text = mkOption {
        type = types.nullOr types.lines;
        default = null;
        description = "What is in it.";
      };
      source = mkOption { type = types.path; description = "A file or directory it leads to."; };
      mode = mkOption {
        type = types.strMatching "symlink|0?[0-7]{3}";
        default = "symlink";
        description = "`symlink`, or the permission bits of a copy, in octal.";
      };
      uid = mkOption { type = types.int; default = 0; description = "Owner of a copy."; };
      gid = mkOption { type = types.int; default = 0; description = "Group of a copy."; };
    };
    config.source = lib.mkIf (config.text != null)
      (lib.mkDefault (pkgs.writeText (base name) config.text));
  };
in
{
  options.environment.etc = mkOption {
    type = types.attrsOf (types.submodule file);
    default = { };
    description = "Files below /etc.";
  };
  options.system.build.etc = mkOption { type = types.package; description = "The tree of /etc."; };
  config.system.build.etc = functions.etc config.environment.etc;
}
