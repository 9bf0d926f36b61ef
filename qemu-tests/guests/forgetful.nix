# `swaps` with an agent that never syncs anything: what power cuts must find out.
{ lib, pkgs, ... }:
{
  imports = [ ./swaps.nix ];
  networking.hostName = lib.mkOverride 40 "forgetful";
  rollinit.services.rollinit-agent.exec = lib.mkForce [
    "${pkgs.rollinit-test-apps}/bin/rollinit-testapp"
    "forgetful"
    "${pkgs.rollinit}/bin/rollinit-agent"
  ];
}
