# NixOS's own module list without systemd: what `baseModules` of its eval-config.nix is given, so that
# a configuration written for NixOS evaluates, and what becomes of it boots with rollinit.
#
#   nixpkgs     a nixpkgs tree, 22.11 or newer: its path, or the flake's input
#   rollinit    arguments of bridge.nix: { packages }, rollinit's programs for a package set
#
# Modules that only implement systemd are left out by the end of their path: a name that a release
# does not have takes nothing away. Their options are declared in systemd.nix, since service modules
# set them; nothing is built of those. Stage 1, stage 2, users and /etc of NixOS stay in the list for
# their options, and are never built: bridge.nix defines another toplevel in place of NixOS's.
{ nixpkgs, rollinit }:
let
  inherit (builtins) any filter stringLength substring;
  endsIn = path: end:
    let length = stringLength path; wanted = stringLength end; in
    length >= wanted && substring (length - wanted) wanted path == end;
  implementsSystemd = [
    "/security/systemd-confinement.nix"
    "/security/run0.nix"
    "/system/activation/top-level.nix"
    "/system/boot/emergency-mode.nix"
    "/system/boot/kexec.nix"
    "/system/boot/networkd.nix"
    "/system/boot/resolved.nix"
    "/system/boot/shutdown.nix"
    "/system/boot/systemd.nix"
    "/system/boot/systemd-nspawn.nix"
    "/system/boot/timesyncd.nix"
  ];
  isSystemd = path:
    any (endsIn path) implementsSystemd
    # system/boot/systemd/*.nix: journald, logind, tmpfiles, oomd, ...
    || builtins.match ".*/system/boot/systemd/[^/]+" path != null;
  modules = import (nixpkgs + "/nixos/modules/module-list.nix");
in
filter (module: !isSystemd (toString module)) modules
++ [
  # Where `system.build` is declared; top-level.nix, which imports it, is left out.
  (nixpkgs + "/nixos/modules/system/build.nix")
  (import ./systemd.nix)
  (import ./bridge.nix rollinit)
]
