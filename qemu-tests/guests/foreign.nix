# The demo's guest, and a way to its control socket from outside: for a client that is none of ours.
# The relay is a service, so whoever comes through it may read at most.
{ pkgs, ... }:
{
  imports = [ ./demo.nix ];
  rollinit.services.relay = {
    exec = [
      "${pkgs.rollinit-test-apps}/bin/rollinit-testapp" "relay" "8082" "/run/rollinit/supervisor"
    ];
    after = [ "network" ];
  };
}
