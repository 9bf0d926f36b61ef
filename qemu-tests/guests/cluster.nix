# A host of a cluster: what an AMI is made of, and an app of each strategy. Which group it is of and
# where its ledger is, its user-data says.
{ lib, pkgs, ... }:
let
  releases = import ./releases.nix { inherit pkgs; };
  app = more: swap: {
    closure = releases.v1;
    user = "web";
    health.http = {
      path = "/up";
      every = "250ms";
      passes = 3;
      # A gate that a busy machine keeps waiting is no bad release.
      timeout = "5s";
      deadline = "15s";
    };
    restart = { backoffMin = "200ms"; backoffMax = "5s"; };
    swap = { drain = "10s"; watch = "0s"; bake = "1s"; migrateLease = "20s"; } // swap;
  } // more;
in
{
  imports = [ ./ec2.nix ];
  networking.hostName = lib.mkForce "cluster";
  users.users.web = { uid = 1000; group = "web"; };
  users.groups.web.gid = 1000;
  rollinit.cloud.endpoint = lib.mkForce "http://10.77.0.2";
  rollinit.agent = {
    caches = [ "http://10.77.0.1:8080" ];
    keys = [ (builtins.readFile "${pkgs.rollinit-test-apps}/cache-key") ];
  };
  # The app that stops before its successor starts, and the one whose sides are two servers.
  rollinit.agent.settings.balancer = builtins.listToAttrs (map (name: {
    inherit name;
    value = {
      kind = "haproxy";
      app = name;
      sockets = [ "10.77.0.1:9999" ];
      backends = [ name ];
    };
  }) [ "shop" "api" ]);
  rollinit.image.freeMiB = 256;
  rollinit.apps = {
    web = app { listen.http = 8080; } { strategy = "overlap"; };
    shop = app { listen.http = 8081; } { strategy = "restart"; };
    api = app { ports = [ 4000 4001 ]; } { strategy = "ports"; };
  };
}
