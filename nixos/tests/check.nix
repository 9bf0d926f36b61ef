# The evaluation tests as a flake check: those of `equal`, forced while the flake is evaluated.
# (The messages of `error` can only be seen from outside: nixos/tests/run.sh.)
{ pkgs }:
let
  inherit (import ./default.nix { }) equal;
  same = one: builtins.toJSON one.actual == builtins.toJSON one.expected;
  wrong = builtins.filter (name: !same equal.${name}) (builtins.attrNames equal);
in
if wrong == [ ] then pkgs.runCommand "rollinit-nix-tests" { } "touch $out"
else throw "nixos/tests: these are not equal: ${toString wrong}"
