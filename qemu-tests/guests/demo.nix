# The demo's guest, and that of most tests: nginx, our web app behind a kept socket, and three
# services in a row, each of which says on the console when it stops.
{ pkgs, ... }:
let
  # Busybox's shell sees its trap only between commands, so the wait is one that a signal ends.
  link = name: after: {
    inherit after;
    exec = [
      "${pkgs.busybox}/bin/sh" "-c"
      ''
        trap 'echo "order: ${name} stops" > /dev/kmsg; exit 0' TERM
        while :; do sleep 3600 & wait; done
      ''
    ];
    path = [ pkgs.busybox ];
    stop.scope = "leader";
  };
in
{
  imports = [ ../../nixos/tests/configurations/demo.nix ./agent.nix ];
  rollinit.services.chain-a = link "chain-a" [ ];
  rollinit.services.chain-b = link "chain-b" [ "chain-a" ];
  rollinit.services.chain-c = link "chain-c" [ "chain-b" ];
}
