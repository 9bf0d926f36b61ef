# A configuration as NixOS has it, for lib.nixosSystem of the flake: a service module of NixOS among it.
{ pkgs, ... }:
{
  networking.hostName = "joined";
  system.stateVersion = "26.05";
  users.users.web = { isSystemUser = true; group = "web"; uid = 1000; };
  users.groups.web.gid = 1000;
  environment.etc.motd.text = "joined\n";
  # Evaluates; it is `rollinit.services` that runs.
  services.nginx.enable = true;
  rollinit.services.web = { exec = [ "${pkgs.nginx}/bin/nginx" "-g" "daemon off;" ]; };
  rollinitBridge.packages = [ pkgs.busybox ];
}
