# A module of NixOS: `system.build.toplevel` is rollinit's, of what translate.nix reads.
{ packages }:
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.rollinitBridge;
  # NixOS's assertions are said and do not count: some are about file systems and boot loaders that
  # it would set up, others about services, and nothing tells them apart.
  told = value: builtins.foldl'
    (value: one: if one.assertion then value else lib.warn "NixOS: ${one.message}" value)
    value config.assertions;
  unused = type: default: mkOption {
    inherit type default;
    description = "Accepted, and not used.";
  };
  own = lib.evalModules {
    modules = import ../modules ++ cfg.modules ++ [
      (import ./translate.nix { inherit lib; } { inherit config; inherit (cfg) etcLeftOut packages; })
      { system = { inherit (config.system) forbiddenDependenciesRegexes; }; }
    ];
    specialArgs.pkgs = pkgs // packages pkgs;
  };
in
{
  options = {
    # What NixOS's top-level.nix declares, for modules that set or read it.
    system = {
      name = mkOption {
        type = types.str;
        default = config.networking.hostName;
        description = "The name of the system.";
      };
      boot.loader = {
        id = unused types.str "rollinit";
        kernelFile = unused types.str "bzImage";
        initrdFile = unused types.str "initrd";
      };
      systemBuilderCommands = unused types.lines "";
      systemBuilderArgs = unused (types.attrsOf types.unspecified) { };
      extraSystemBuilderCmds = unused types.lines "";
      extraDependencies = unused (types.listOf types.unspecified) [ ];
      checks = unused (types.listOf types.package) [ ];
      copySystemConfiguration = unused types.bool false;
      includeBuildDependencies = unused types.bool false;
      replaceDependencies = {
        replacements = unused (types.listOf types.unspecified) [ ];
        cutoffPackages = unused (types.listOf types.package) [ ];
      };
      forbiddenDependenciesRegexes = mkOption {
        type = types.listOf types.str;
        default = [ ];
        description = "The image is not built if the name of a path in its closure matches one.";
      };
    };
    rollinit = mkOption {
      type = types.anything;
      default = { };
      description = "rollinit's own options: services, apps, agent, image and more.";
    };
    rollinitBridge = {
      modules = mkOption {
        type = types.listOf types.unspecified;
        default = [ ];
        description = "Further modules of rollinit, such as nixos/ec2.nix.";
      };
      packages = mkOption {
        type = types.listOf types.package;
        default = [ ];
        description = "What is in /run/current-system/sw/bin beside rollinit.";
      };
      etcLeftOut = mkOption {
        type = types.listOf types.str;
        default = [
          "systemd/.*" "udev/.*" "dbus-1.*" "pam.*" "polkit-1/.*" "sudoers.*" "login.defs" "shells"
          "profile" "bash.*" "zsh.*" "zprofile" "inputrc" "set-environment" "fonts/.*" "nixos.*"
          "sysctl.d/.*" "modprobe.d/.*" "modules-load.d/.*" "tmpfiles.d.*" "binfmt.d/.*" "fstab"
          "hostname" "hosts" "passwd" "group" "shadow" "resolv.*conf" "nsswitch.conf" "machine-id"
        ];
        description = ''
          Names of environment.etc, as extended regular expressions, that are not taken: what only
          serves systemd, a login or a shell, and what rollinit writes itself.
        '';
      };
    };
  };
  config.system.build = {
    toplevel = told own.config.system.build.toplevel;
    inherit (own.config.system.build) image;
    rollinit = own.config;
  };
}
