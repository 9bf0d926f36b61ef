# The demo: nginx on port 8081, our web app behind a kept socket on port 8080, a notify service.
{ pkgs, ... }:
let
  site = pkgs.runCommand "site" { } "mkdir $out; echo nginx on rollinit > $out/index.txt";
  nginxConf = pkgs.writeText "nginx.conf" ''
    daemon off;
    worker_processes 1;
    user nginx nginx;
    pid /run/nginx.pid;
    error_log stderr;
    events { worker_connections 256; }
    http {
      access_log off;
      client_body_temp_path /run/nginx-body;
      proxy_temp_path /run/nginx-proxy;
      fastcgi_temp_path /run/nginx-fastcgi;
      uwsgi_temp_path /run/nginx-uwsgi;
      scgi_temp_path /run/nginx-scgi;
      server {
        listen 8081;
        root ${site};
        index index.txt;
        types { text/plain txt; }
      }
    }
  '';
in
{
  imports = [ ./plain.nix ./network.nix ];
  networking.hostName = "demo";
  users.users.nginx = { uid = 60; group = "nginx"; };
  users.groups.nginx.gid = 60;
  users.users.web = { uid = 1000; group = "web"; };
  users.groups.web.gid = 1000;

  rollinit.services.nginx = {
    exec = [ "${pkgs.nginx}/bin/nginx" "-e" "stderr" "-c" "${nginxConf}" ];
    after = [ "network" ];
    stop = { signal = "SIGQUIT"; timeout = "10s"; };
  };
  rollinit.services.web = {
    exec = [ "${pkgs.rollinit-test-apps}/bin/rollinit-testapp" "web" ];
    user = "web";
    listen = [ { name = "http"; tcp = "0.0.0.0:8080"; } ];
    restart = { backoffMin = "200ms"; backoffMax = "5s"; };
  };
  rollinit.services.worker = {
    kind = "notify";
    exec = [
      "${pkgs.rollinit-test-apps}/bin/rollinit-testapp"
      "notify" "--delay-ms" "200" "--status" "waiting for work"
    ];
    user = "web";
    wants = [ "web" ];
  };
}
