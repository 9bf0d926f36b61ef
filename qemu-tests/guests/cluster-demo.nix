# The hosts of `cargo xtask demo cluster`: with a bake that somebody would take who has users.
{ lib, ... }:
{
  imports = [ ./cluster.nix ];
  rollinit.apps.web.swap.bake = lib.mkForce "5s";
}
