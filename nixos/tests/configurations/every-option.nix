# Every option of rollinit.services once, so that `rollinit check` judges every key Nix can write.
{ pkgs, ... }:
{
  imports = [ ./plain.nix ];
  networking.hostName = "every-option";
  users.users.web = {
    uid = 1000;
    group = "web";
    extraGroups = [ "rollinit-read" ];
    home = "/var/lib/web";
  };
  users.groups.web.gid = 1000;
  environment.etc."motd".text = "all options\n";
  environment.etc."private" = { text = "for root\n"; mode = "0400"; };

  rollinit.services.database = {
    kind = "oneshot";
    exec = [ "${pkgs.busybox}/bin/true" ];
    restart.policy = "on-failure";
  };
  rollinit.services.early.exec = [ "${pkgs.busybox}/bin/sleep" "infinity" ];
  rollinit.services.web = {
    exec = [ "${pkgs.busybox}/bin/sh" "-c" "echo \"it's é\"; exec sleep infinity" ];
    kind = "notify";
    user = "web";
    group = "web";
    groups = [ "rollinit-read" ];
    directory = "/tmp";
    environment = { lowerCase = "kept"; QUOTED = "a \"b\" \\ c"; LEFT_OUT = null; };
    path = [ pkgs.busybox ];
    umask = "0027";
    oomScoreAdjust = -100;
    after = [ "database" ];
    before = [ "last" ];
    requires = [ "database" ];
    wants = [ "early" ];
    ready.timeout = "1.5s";
    restart = {
      policy = "always";
      backoffMin = "100ms";
      backoffMax = "10s";
      resetAfter = "1m";
      intensity = 5;
      period = "30s";
    };
    stop = { signal = "SIGINT"; timeout = "5s"; scope = "cgroup"; };
    listen = [
      { name = "http"; tcp = "[::]:8080"; backlog = 64; }
      { name = "admin"; unix = "/run/web.sock"; mode = "0660"; user = "web"; group = "rollinit"; }
    ];
    limits = {
      pidsMax = 100;
      memoryMax = "512M";
      memoryHigh = "400M";
      cpuWeight = 200;
      cpu = "infinity"; fsize = "1G"; data = "infinity"; stack = "8M"; core = 0; rss = "infinity";
      nproc = 100; nofile = { soft = 1024; hard = 4096; }; memlock = "64K"; as = "infinity";
      locks = 100; sigpending = 100; msgqueue = "800K"; nice = 20; rtprio = 0; rttime = "infinity";
    };
  };
  rollinit.services.last.exec = [ "${pkgs.busybox}/bin/sleep" "infinity" ];
}
