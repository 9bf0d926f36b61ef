# Two apps of our make, one of each strategy, and the agent: what most tests of swaps boot.
{ pkgs, ... }:
let
  releases = import ./releases.nix { inherit pkgs; };
  app = port: swap: {
    closure = releases.v1;
    user = "web";
    listen.http = port;
    health.http = {
      path = "/up";
      every = "250ms";
      passes = 3;
      timeout = "1s";
      deadline = "8s";
    };
    restart = { backoffMin = "200ms"; backoffMax = "5s"; };
    hooks.afterSwitch = [ "\${closure}/bin/smoke" ];
    swap = { drain = "10s"; watch = "3s"; migrateLease = "20s"; } // swap;
  };
in
{
  imports = [
    ../../nixos/tests/configurations/plain.nix
    ../../nixos/tests/configurations/network.nix
    ./agent.nix
    ./cache.nix
  ];
  networking.hostName = "swap";
  users.users.web = { uid = 1000; group = "web"; };
  users.groups.web.gid = 1000;
  # Longer than a release that is well for five seconds only.
  rollinit.apps.web = app 8080 { strategy = "overlap"; bake = "7s"; };
  rollinit.apps.shop = app 8081 { strategy = "restart"; bake = "1s"; };
}
