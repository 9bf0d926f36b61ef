# nixos/lib: pure functions that turn evaluated options into files. Each file says what it is.
#
# `lib` is nixpkgs' or module-system.nix; of `pkgs` only `runCommand` and `writeText` are used here
# (and, by image.nix, the programs it names). Scripts are POSIX shell: offline it is busybox.
{ lib, pkgs }:
let
  inherit (builtins) replaceStrings;
in
rec {
  toTOML = import ./toml.nix;
  # A string as one word of a shell script.
  shellWord = text: "'${replaceStrings [ "'" ] [ "'\\''" ] (toString text)}'";
  options = import ./options.nix { inherit lib; };
  definition = import ./definition.nix { inherit lib; };
  checks = import ./checks.nix { inherit lib; };
  accounts = import ./accounts.nix { inherit lib; };
  etc = import ./etc.nix { inherit lib pkgs shellWord; };
  initrd = import ./initrd.nix { inherit lib pkgs shellWord; };
  kernelModules = import ./kernel-modules.nix { inherit lib pkgs shellWord; };
  toplevel = import ./toplevel.nix { inherit lib pkgs shellWord; };
  esp = import ./esp.nix { inherit lib pkgs shellWord; };
  image = import ./image.nix { inherit lib pkgs shellWord; };
}
