# Apps of other makes: Debian's Python with gunicorn on port 8080, Debian's Node on 8081.
{ pkgs, ... }:
let
  releases = import ./releases.nix { inherit pkgs; };
  app = closure: port: {
    inherit closure;
    user = "web";
    listen.http = port;
    health.http = { path = "/up"; every = "250ms"; passes = 3; timeout = "5s"; deadline = "60s"; };
    swap = { strategy = "overlap"; drain = "10s"; bake = "500ms"; watch = "0s"; };
  };
in
{
  imports = [
    ../../nixos/tests/configurations/plain.nix
    ../../nixos/tests/configurations/network.nix
    ./agent.nix
    ./cache.nix
  ];
  networking.hostName = "interpreters";
  users.users.web = { uid = 1000; group = "web"; };
  users.groups.web.gid = 1000;
  rollinit.apps.python = app releases.python-1 8080;
  rollinit.apps.node = app releases.node-1 8081 // { after = [ "modules" ]; };
  # Where Debian's Node looks for what of its library is in files.
  rollinit.services.modules = {
    kind = "oneshot";
    exec = [
      "${pkgs.busybox}/bin/sh" "-euc"
      "mkdir -p /usr/share && ln -sfn ${pkgs.nodejs.modules} /usr/share/nodejs"
    ];
    path = [ pkgs.busybox ];
  };
}
