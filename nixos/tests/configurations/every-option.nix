# Every option of rollinit.services and rollinit.apps once, so that `rollinit check` judges every key
# Nix can write.
{ pkgs, ... }:
{
  imports = [ ./plain.nix ];
  networking.hostName = "every-option";
  boot.loader.systemd-boot.enable = true;
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
    imds = true;
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
      swapMax = 0;
      cpuWeight = 200;
      cpu = "infinity"; fsize = "1G"; data = "infinity"; stack = "8M"; core = 0; rss = "infinity";
      nproc = 100; nofile = { soft = 1024; hard = 4096; }; memlock = "64K"; as = "infinity";
      locks = 100; sigpending = 100; msgqueue = "800K"; nice = 20; rtprio = 0; rttime = "infinity";
    };
  };
  rollinit.services.database.control = "operate";
  rollinit.agent = {
    caches = [ "https://cache.example.org" ];
    keys = [ "cache.example.org-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" ];
    fetch = {
      parallelNarinfos = 8;
      parallelNars = 4;
      stallTimeout = "20s";
      giveUpAfter = "2.5m";
    };
    credentials.poll = "5m";
  };
  rollinit.cloud = {
    enable = true;
    region = "eu-central-1";
    endpoint = "https://aws.example.org";
    endpoints = { s3 = "https://s3.example.org:9000"; };
    dualStack = true;
    proxy = "http://proxy.example.org:3128";
    noProxy = [ "s3.example.org" ];
    metadata = "http://169.254.169.254";
    notices = { spot = "power-off"; rebalance = "tell"; scaleIn = "tell"; poll = "10s"; };
  };
  rollinit.fleet = {
    enable = true;
    ledger = "dynamodb://rollinit?region=eu-central-1";
    group = "prod";
    host = "web-1";
  };
  rollinit.balancers = {
    edge = {
      kind = "haproxy";
      app = "shop";
      around = "always";
      minHealthy = 0;
      drain = "30s";
      floor = "1s";
      join = "30s";
      settle = "1s";
      patience = "5m";
      port = 8080;
      sockets = [ "10.0.0.5:9999" "/run/haproxy/admin.sock" ];
      backends = [ "shop" ];
      address = "10.0.0.11";
    };
    named = {
      kind = "haproxy";
      app = "shop";
      sockets = [ "10.0.0.5:9999" ];
      servers = [ "shop/web-1" ];
    };
    front = {
      kind = "alb";
      app = "shop";
      targetGroups = [ "shop" ];
      asg = "standby";
      settle = "1.5s";
    };
  };
  rollinit.peers = {
    enable = true;
    listen = "[::]:7465";
    advertise = "10.0.0.5:7465";
    hosts = [ "10.0.0.7:7465" ];
    open = true;
    bytesPerSecond = 50000000;
  };
  rollinit.releases.shop = {
    url = "ledger:";
    signers = [
      "alice ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
    ];
    threshold = 1;
    every = "1m";
    group = "prod";
    onlySigned = true;
  };
  rollinit.metrics.listen = "127.0.0.1:9465";
  rollinit.webhook = {
    url = "https://events.example.org/rollinit";
    tokenFile = "/run/secrets/webhook-token";
  };
  rollinit.apps.shop = {
    closure = pkgs.busybox;
    exec = [ "\${closure}/bin/sh" "-c" "exec sleep infinity" ];
    migrate = "\${closure}/bin/true";
    kind = "notify";
    user = "web";
    group = "web";
    groups = [ "rollinit-read" ];
    directory = "/tmp";
    environment = { lowerCase = "kept"; };
    path = [ pkgs.busybox ];
    umask = "0027";
    oomScoreAdjust = -100;
    imds = false;
    credentials = {
      dbPassword = { ssm = "/shop/database"; onChange = "signal"; signal = "SIGUSR1"; };
      tls.path = "/etc/ssl/shop.key";
    };
    after = [ "web" ];
    before = [ "last" ];
    requires = [ "database" ];
    wants = [ "early" ];
    ready.timeout = "1.5s";
    restart = { policy = "always"; backoffMin = "100ms"; intensity = 5; period = "30s"; };
    stop = { signal = "SIGINT"; timeout = "5s"; scope = "cgroup"; };
    limits = { pidsMax = 100; nofile = 1024; };
    listen = {
      http = 8088;
      adminPort = { tcp = "127.0.0.1:8089"; backlog = 64; };
      local = { unix = "/run/shop.sock"; mode = "0660"; user = "web"; group = "rollinit"; };
    };
    health.http = {
      listen = "http";
      path = "/up";
      every = "1s";
      passes = 3;
      timeout = "2s";
      deadline = "60s";
    };
    swap = {
      strategy = "overlap";
      drain = "30s";
      bake = "20s";
      watch = "60s";
      retire = "at-switch";
      migrateLease = "60s";
    };
    hooks = {
      afterSwitch = [ "\${closure}/bin/true" ];
      onRollback = [ "\${closure}/bin/true" "again" ];
    };
  };
  rollinit.apps.asked = {
    kind = "notify";
    listen.local = "unix:/run/asked.sock";
    health.notify.deadline = "10s";
    swap.strategy = "restart";
  };
  rollinit.apps.binding = {
    ports = [ 4000 4001 ];
    health.http = "/up";
    swap = { strategy = "ports"; drain = "30s"; };
  };
  rollinit.apps.connected = {
    closure = pkgs.busybox;
    listen.tcp = "127.0.0.1:8090";
    health.tcp = { listen = "tcp"; every = "1s"; passes = 3; timeout = "2s"; deadline = "60s"; };
  };
  rollinit.services.last.exec = [ "${pkgs.busybox}/bin/sleep" "infinity" ];
}
