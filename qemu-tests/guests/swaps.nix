# The same with next to no bake: for many swaps in a row.
{ lib, ... }:
let
  quick = {
    swap = { bake = lib.mkForce "200ms"; watch = lib.mkForce "0s"; };
    health.http = lib.mkForce {
      path = "/up";
      every = "50ms";
      passes = 2;
      timeout = "5s";
      deadline = "30s";
    };
    hooks.afterSwitch = lib.mkForce [ ];
  };
in
{
  imports = [ ./swap.nix ];
  networking.hostName = lib.mkForce "swaps";
  rollinit.apps.web = quick;
  rollinit.apps.shop = quick;
}
