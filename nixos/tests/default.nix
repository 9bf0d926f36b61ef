# Tests of nixos/lib and nixos/modules by evaluation; nixos/tests/run.sh runs them.
#
#   equal.NAME  = { actual; expected; }   the two must be the same value
#   error.NAME  = { value; message; }     evaluating `value` must fail, and say `message`
#
# `lib` may be nixpkgs' instead (nixpkgs.sh): its errors have other words.
{ lib ? import ../lib/module-system.nix }:
let
  pkgs = import ./stub/packages.nix;
  functions = import ../lib { inherit lib pkgs; };
  inherit (functions) toTOML definition accounts;
  inherit (lib) mkOption types mkIf mkMerge mkDefault mkForce;
  inherit (builtins) fromJSON fromTOML;

  evaluate = modules:
    (lib.evalModules { inherit modules; specialArgs = { inherit pkgs; }; }).config;
  # What a host's configuration comes to; `services` are merged into a sound one.
  system = module: evaluate (import ../modules ++ [ sound module ]);
  sound.rollinit.services.database.exec = [ "/bin/database" ];
  agentFileOf = module:
    (system { imports = [ ./configurations/every-option.nix module ]; })
      .environment.etc."rollinit/agent.toml".text;
  fileOf = name: config: config.environment.etc."rollinit/services/${name}.toml".text;
  failing = message: module: {
    value = (system module).system.build.toplevel.drvPath;
    inherit message;
  };
  web = settings: { rollinit.services.web = { exec = [ "/bin/web" ]; } // settings; };
  # The sample of DESIGN and of docs/nix.md.
  storefront.rollinit.apps.shop = {
    closure = pkgs.busybox;
    listen.http = 443;
    health.http = "/up";
    environment.PHX_HOST = "shop.example.org";
    swap = { strategy = "overlap"; drain = "30s"; bake = "20s"; };
  };
  shop = settings: { rollinit.apps.shop = settings; };
  # fromTOML takes no text that refers to the store.
  withoutContext = builtins.unsafeDiscardStringContext;
  key = "cache-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

  # Of the shape that NixOS's own options have, with what only NixOS has among it.
  nixos = {
    rollinit.services.web = { exec = [ "/bin/web" ]; user = "web"; };
    environment.etc =
      let entry = text: {
        enable = true;
        source = pkgs.writeText "file" text;
        mode = "symlink";
        user = "+0";
        group = "+0";
        uid = 0;
        gid = 0;
        target = "unused";
      }; in
      { motd = entry "hello"; profile = entry "a shell's"; "systemd/system" = entry "units"; };
    users.users = {
      web = {
        uid = 1000;
        group = "web";
        extraGroups = [ ];
        description = "";
        home = "/var/empty";
        isSystemUser = true;
      };
      nixbld1 = { };
      systemd-network = { };
    };
    users.groups = {
      web = { gid = 1000; members = [ "web" ]; name = "web"; };
      nixbld = { };
    };
    boot = {
      kernelPackages = pkgs.linuxPackages;
      kernelParams = [ "quiet" ];
      kernelModules = [ "loop" ];
      initrd.kernelModules = [ "dm_mod" ];
    };
    networking.hostName = "joined";
  };
  joined = evaluate (import ../modules ++ [
    (import ../base/translate.nix { inherit lib; } {
      config = nixos;
      etcLeftOut = [ "systemd/.*" "profile" ];
      packages = [ pkgs.busybox ];
    })
  ]);

  tricky.service = {
    exec = [ "/bin/a" "with \"quotes\", a \\ and\na line" "" ];
    kind = null;
    ratio = 1.5;
    deep.er.on = true;
    environment = { "A B" = "ü"; DEL = fromJSON "\"\\u007f\""; };
    listen = [ { name = "http"; } { name = "admin"; mode = null; } ];
    empty = [ ];
    mixed = [ { a = 1; } 2 ];
  };
  read.service = removeAttrs tricky.service [ "kind" ] // {
    listen = [ { name = "http"; } { name = "admin"; } ];
  };

  merging = evaluate [
    ({ config, ... }: {
      options.unit = mkOption {
        default = { };
        type = types.attrsOf (types.submodule ({ name, ... }: {
          options.argv = mkOption { type = types.listOf types.str; };
          options.restart = mkOption {
            type = types.enum [ "always" "never" ];
            default = "always";
          };
          options.title = mkOption { type = types.str; };
          config.title = mkDefault "unit ${name}";
        }));
      };
      options.enable = mkOption { type = types.bool; default = false; };
      options.script = mkOption { type = types.lines; default = ""; };
      config = mkIf config.enable {
        unit.sshd.argv = [ "sshd" ];
        unit.gone = mkIf false { argv = [ "gone" ]; };
        script = mkMerge [ "a" (mkIf (config.unit ? web) "has web") (mkIf false "no") ];
      };
    })
    { enable = true; unit.web = { argv = [ "web" ]; restart = mkForce "never"; }; }
    { unit.web.argv = [ "-v" ]; unit.web.restart = "always"; unit.web.title = "mine"; }
  ];
in
{
  equal = {
    # Golden text: the form is part of what a user reads in /etc/rollinit/services.
    tomlText = {
      actual = toTOML {
        service = {
          exec = [ "/bin/a" ];
          kind = null;
          restart.policy = "no";
          listen = [ { name = "x"; } ];
        };
        first = 1;
      };
      expected = ''
        first = 1

        [service]
        exec = ["/bin/a"]

        [service.restart]
        policy = "no"

        [[service.listen]]
        name = "x"
      '';
    };
    # The name is a file's and stays as it is; what is not said is not written.
    credentialsKeepTheirNames = {
      actual = (fromTOML (withoutContext (fileOf "web" (system (web {
        credentials.dbPassword = { ssm = "/shop/db"; onChange = "signal"; };
        credentials.tls.path = "/etc/ssl/key";
      }))))).service.credentials;
      expected = {
        dbPassword = { ssm = "/shop/db"; on-change = "signal"; };
        tls.path = "/etc/ssl/key";
      };
    };
    # Nix's own TOML reader is the independent judge; nulls are the one thing left out.
    tomlRoundTrip = { actual = fromTOML (toTOML tricky); expected = read; };

    # Conditions, priorities, defaults that use the name, lists over several modules.
    moduleSystem = {
      actual = merging;
      expected = {
        enable = true;
        script = "a\nhas web";
        unit.sshd = { argv = [ "sshd" ]; restart = "always"; title = "unit sshd"; };
        unit.web = { argv = [ "web" "-v" ]; restart = "never"; title = "mine"; };
      };
    };

    # camelCase becomes kebab-case, names of variables stay, nothing is written that was not said.
    definition = {
      actual = fromTOML (fileOf "web" (system (web {
        oomScoreAdjust = 5;
        restart.backoffMin = "1.5s";
        environment.pathLike = "x";
        listen = [ { name = "http"; tcp = "[::]:80"; } ];
        limits = { pidsMax = 10; nofile = { soft = 1; hard = "infinity"; }; };
        after = [ "database" ];
      })));
      expected.service = {
        exec = [ "/bin/web" ];
        oom-score-adjust = 5;
        restart.backoff-min = "1.5s";
        environment.pathLike = "x";
        listen = [ { name = "http"; tcp = "[::]:80"; } ];
        limits = { pids-max = 10; nofile = { soft = 1; hard = "infinity"; }; };
        after = [ "database" ];
      };
    };
    disabledServiceHasNoFile = {
      actual = (system (web { enable = false; })).environment.etc ? "rollinit/services/web.toml";
      expected = false;
    };
    path = {
      actual = (fromTOML (withoutContext
        (fileOf "web" (system (web { path = [ pkgs.busybox ]; }))))).service.environment.PATH;
      expected = withoutContext "${pkgs.busybox}/bin:/run/current-system/sw/bin";
    };

    app = {
      actual = fromTOML (withoutContext (fileOf "shop" (system storefront)));
      expected.app = {
        closure = withoutContext "${pkgs.busybox}";
        listen.http = "[::]:443";
        health.http.path = "/up";
        environment.PHX_HOST = "shop.example.org";
        swap = { strategy = "overlap"; drain = "30s"; bake = "20s"; };
      };
    };
    # Names of sockets are people's; everything else that differs from a service's file.
    appInFull = {
      actual = fromTOML (fileOf "shop" (system (shop {
        exec = [ "\${closure}/bin/web" "--fast" ];
        migrate = "";
        kind = "notify";
        user = "nobody";
        after = [ "database" ];
        listen = {
          adminPort = { tcp = "127.0.0.1:81"; backlog = 5; };
          http = "0.0.0.0:80";
          local = "unix:/run/shop";
        };
        health.http = { listen = "adminPort"; path = "/up"; every = "200ms"; passes = 2; };
        swap = { retire = "at-switch"; migrateLease = "5s"; watch = "0s"; };
        hooks = { afterSwitch = [ "\${closure}/bin/smoke" ]; onRollback = [ "/bin/page" ]; };
      })));
      expected.app = {
        exec = [ "\${closure}/bin/web" "--fast" ];
        migrate = "";
        kind = "notify";
        user = "nobody";
        after = [ "database" ];
        listen = {
          adminPort = { tcp = "127.0.0.1:81"; backlog = 5; };
          http = "0.0.0.0:80";
          local = "unix:/run/shop";
        };
        health.http = { listen = "adminPort"; path = "/up"; every = "200ms"; passes = 2; };
        swap = { retire = "at-switch"; migrate-lease = "5s"; watch = "0s"; };
        hooks = { after-switch = [ "\${closure}/bin/smoke" ]; on-rollback = [ "/bin/page" ]; };
      };
    };
    appOfTwoPorts = {
      actual = fromTOML (fileOf "shop" (system (shop {
        ports = [ 4000 4001 ];
        health.http = "/up";
      })));
      expected.app = { ports = [ 4000 4001 ]; health.http.path = "/up"; };
    };
    servicesMayWaitForApps = {
      actual = builtins.isString (system {
        imports = [ storefront (web { after = [ "shop" ]; }) ];
      }).system.build.toplevel.drvPath;
      expected = true;
    };
    agent =
      let
        config = system {
          imports = [ storefront ];
          rollinit.agent = { caches = [ "http://cache" ]; keys = [ key ]; fetch.parallelNars = 4; };
        };
        definition = fromTOML (withoutContext (fileOf "rollinit-agent" config));
      in
      {
        actual = [
          (fromTOML config.environment.etc."rollinit/agent.toml".text)
          definition.service.control
          definition.service.listen
        ];
        expected = [
          { caches = [ "http://cache" ]; keys = [ key ]; fetch.parallel-nars = 4; }
          "admin"
          [ { name = "varlink"; unix = "/run/rollinit/agent"; mode = "0666"; } ]
        ];
      };
    network =
      let
        words = settings: builtins.tail (system settings).rollinit.services.network-online.exec;
        etc = (system {
          rollinit.network.enable = true;
          rollinit.guardedAddresses = [ "169.254.169.254" "fd00:ec2::254" ];
        }).environment.etc;
      in
      {
        actual = [
          (words { rollinit.network.enable = true; })
          (words {
            networking.hostName = "";
            rollinit.network = { enable = true; keepExpired = true; interfaces = [ "eth0" "eth1" ]; };
          })
          etc."rollinit/guarded-addresses".text
          etc."resolv.conf".source
          ((system { }).environment.etc ? "resolv.conf")
        ];
        expected = [
          [ "run" ]
          [ "run" "--interface" "eth0" "--interface" "eth1" "--host-name" "--keep-expired" ]
          "169.254.169.254\nfd00:ec2::254\n"
          "/run/rollinit/resolv.conf"
          false
        ];
      };
    # A member of a group needs no app for an agent; what is not said is left to user-data.
    fleet = {
      actual = map (settings: (fromTOML (system {
        rollinit.fleet = { enable = true; } // settings;
        rollinit.userData = { enable = true; file = "/user-data"; };
      }).environment.etc."rollinit/agent.toml".text).fleet or { }) [
        { }
        { ledger = "etcd://10.0.0.5:2379/shop"; }
        { ledger = "s3://bucket/prefix"; group = "prod"; host = "web-1"; }
      ];
      expected = map (settings: { enable = true; } // settings) [
        { }
        { ledger = "etcd://10.0.0.5:2379/shop"; }
        { ledger = "s3://bucket/prefix"; group = "prod"; host = "web-1"; }
      ];
    };
    # Every option that becomes a key of agent.toml. The agent's own tests read these two files, and
    # see that no key of its is without an option: a difference here is mended by writing the file
    # anew, with what the test got.
    agentFile = {
      actual = withoutContext (agentFileOf {
        rollinit.bootSlots = {
          enable = true;
          tries = 2;
          blessWithin = "5m";
          blessAfter = "1.5s";
          blessWhen = [ "shop" ];
          keep = 4;
        };
        rollinit.userData.enable = true;
      });
      expected = builtins.readFile ./agent.toml;
    };
    # The same where addresses and documents are files.
    agentFileOfFiles = {
      actual = withoutContext (agentFileOf {
        rollinit.webhook = { url = mkForce null; urlFile = "/run/secrets/webhook"; };
        rollinit.userData = { enable = true; file = "/etc/user-data.toml"; };
      });
      expected = builtins.readFile ./agent-files.toml;
    };
    # Who may sign is a file beside the agent's own; what is not said is not written.
    releases =
      let
        person = "alice ssh-ed25519 AAAA";
        of = releases: (system { rollinit = { inherit releases; }; }).environment.etc;
        signed = of {
          web = {
            url = "https://releases.example.org/web";
            signers = [ person ];
            threshold = 1;
            every = "10s";
            onlySigned = true;
          };
        };
      in
      {
        actual = [
          (fromTOML signed."rollinit/agent.toml".text).desired.web
          signed."rollinit/signers/web".text
          (fromTOML (of { web.url = "file:///srv/web"; })."rollinit/agent.toml".text).desired.web
        ];
        expected = [
          {
            url = "https://releases.example.org/web";
            signers = "/etc/rollinit/signers/web";
            threshold = 1;
            every = "10s";
            only-signed = true;
          }
          "${person}\n"
          { url = "file:///srv/web"; }
        ];
      };
    # Names become the file's, what is not said is not written, and the end of the host is held up by
    # a service that is stopped before the agent and the apps.
    balancers =
      let
        of = config: {
          sections = (fromTOML config.environment.etc."rollinit/agent.toml".text).balancer;
          inherit (config.rollinit.services.rollinit-balancers) after;
        };
      in
      {
        actual = of (system {
          rollinit.apps.web = { listen.http = 80; };
          rollinit.cloud.enable = true;
          rollinit.balancers = {
            edge = { kind = "haproxy"; app = "web"; sockets = [ "lb:9999" ]; backends = [ "web" ]; };
            front = {
              kind = "alb";
              app = "web";
              targetGroups = [ "web" ];
              minHealthy = 0;
              asg = "standby";
            };
          };
        });
        expected = {
          sections = {
            edge = { kind = "haproxy"; app = "web"; sockets = [ "lb:9999" ]; backends = [ "web" ]; };
            front = {
              kind = "alb";
              app = "web";
              target-groups = [ "web" ];
              min-healthy = 0;
              asg = "standby";
            };
          };
          after = [ "rollinit-agent" "web" ];
        };
      };
    # An instance needs no app for an agent, and an empty section says that it is one.
    cloud = {
      actual = map (settings: (fromTOML (system {
        rollinit.cloud = { enable = true; } // settings;
      }).environment.etc."rollinit/agent.toml".text).cloud) [
        { }
        {
          endpoints.s3 = "http://cache";
          proxy = "http://proxy:3128";
          noProxy = [ "cache" ];
          notices = { rebalance = "power-off"; scaleIn = "tell"; };
        }
      ];
      expected = [
        { dual-stack = false; }
        {
          dual-stack = false;
          endpoints.s3 = "http://cache";
          proxy = "http://proxy:3128";
          no-proxy = [ "cache" ];
          notices = { rebalance = "power-off"; scale-in = "tell"; };
        }
      ];
    };
    # What is not said is not written, so that the defaults are the agent's own.
    peersAndMetrics =
      let
        sections = settings:
          let
            text = (system (settings // { rollinit = settings.rollinit // { agent.enable = true; }; }))
              .environment.etc."rollinit/agent.toml".text;
            all = fromTOML text;
          in
          map (name: all.${name} or { }) [ "peers" "metrics" "webhook" ];
      in
      {
        actual = map sections [
          { rollinit = { }; }
          {
            rollinit = {
              peers = { hosts = [ "10.0.0.7:7465" ]; open = true; bytesPerSecond = 1000000; };
              metrics.listen = "[::]:9465";
              webhook = { urlFile = "/run/secrets/hook"; tokenFile = "/run/secrets/token"; };
            };
          }
          { rollinit.peers.enable = false; }
        ];
        expected = [
          [ { } { } { } ]
          [
            { hosts = [ "10.0.0.7:7465" ]; open = true; bytes-per-second = 1000000; }
            { listen = "[::]:9465"; }
            { url-file = "/run/secrets/hook"; token-file = "/run/secrets/token"; }
          ]
          [ { enable = false; } { } { } ]
        ];
      };
    noAgentWithoutApps = {
      actual = (system { }).environment.etc ? "rollinit/agent.toml";
      expected = false;
    };

    # passwd(5), group(5): sorted by number, members from both sides, once each.
    accounts = {
      actual =
        let
          groups.b = { gid = 2; members = [ "ann" "bob" ]; };
          groups.a = { gid = 10; members = [ ]; };
          user = uid: group: extraGroups: {
            inherit uid group extraGroups;
            description = "";
            home = "/h";
            shell = "/s";
          };
          users = { bob = user 7 "a" [ ]; ann = user 20 "b" [ "b" ]; };
        in [ (accounts.passwd users groups) (accounts.group users groups) (accounts.shadow users) ];
      expected = [
        "bob:x:7:10::/h:/s\nann:x:20:2::/h:/s\n"
        "b:x:2:ann,bob\na:x:10:\n"
        "bob:!:1::::::\nann:!:1::::::\n"
      ];
    };
    # With rollinit.activate the host gives numbers, all start after the tasks but those who say
    # otherwise, and what tasks read is in their formats.
    activation =
      let
        config = system {
          rollinit.activate = { enable = true; clockFloor = 1800000000; kernelModules = [ ]; };
          rollinit.services.web = {
            exec = [ "/bin/web" ];
            after = [ "activate-users" "database" ];
          };
          rollinit.services.first = { exec = [ "/bin/first" ]; early = true; };
          rollinit.apps.shop = { exec = [ "/bin/shop" ]; listen.http = 80; };
          rollinit.tmpfiles.rules = [ "d /var/lib/web" ];
          boot.kernel.sysctl = { "a.b" = true; "kernel.kptr_restrict" = null; "c.d" = "1 2"; };
          users.users.web = { group = "web"; createHome = true; };
          users.groups.web = { };
          networking.hostName = "";
        };
        read = name: fromTOML (withoutContext config.environment.etc.${name}.text);
        after = name: (read "rollinit/services/${name}.toml").service.after or [ ];
      in
      {
        actual = {
          web = after "web";
          first = after "first";
          tmpfiles = after "activate-tmpfiles";
          shop = (read "rollinit/services/shop.toml").app.after;
          user = (read "rollinit/users.toml").users.web;
          group = (read "rollinit/users.toml").groups.web;
          floor = config.environment.etc."rollinit/clock-floor".text;
          rules = config.environment.etc."tmpfiles.d/50-rollinit.conf".text;
          lines = builtins.filter (line: builtins.isString line && line != "")
            (builtins.split "\n" config.environment.etc."sysctl.d/60-nixos.conf".text);
          names = map (name: config.environment.etc ? ${name}) [ "passwd" "hostname" "hosts" ];
        };
        expected =
          let
            first = [
              "activate-clock" "activate-etc" "activate-host-name" "activate-machine-id"
              "activate-sysctl" "activate-tmpfiles" "activate-users" "activate-modules"
            ];
            without = builtins.filter (name: name != "activate-users");
          in
          {
            web = [ "activate-users" "database" ] ++ without first;
            first = [ ];
            tmpfiles = [
              "activate-etc" "activate-host-name" "activate-machine-id" "activate-users"
            ];
            shop = first;
            user = {
              create-home = true;
              description = "";
              extra-groups = [ ];
              group = "web";
              home = "/var/empty";
              normal = false;
              shell = "/run/current-system/sw/bin/nologin";
            };
            group.members = [ ];
            floor = "1800000000\n";
            rules = "d /var/lib/web\n";
            lines = [
              "a.b=1" "c.d=1 2" "fs.protected_fifos=1" "fs.protected_hardlinks=1"
              "fs.protected_regular=1" "fs.protected_symlinks=1"
              "kernel.core_pattern=/var/crash/core.%e.%p.%t"
            ];
            names = [ false false true ];
          };
      };
    # A configuration of NixOS becomes a system of ours: services, files, accounts, kernel.
    nixosBecomesOurs = {
      actual = {
        web = (fromTOML (fileOf "web" joined)).service;
        etc = builtins.filter (name: joined.environment.etc ? ${name})
          [ "motd" "profile" "systemd/system" "passwd" ];
        accounts = [ (joined.users.users ? nixbld1) joined.users.users.web.uid ];
        modules = map (name: builtins.elem name joined.boot.kernelModules) [ "loop" "button" ];
        inherit (joined.networking) hostName;
        builds = builtins.isString joined.system.build.toplevel.drvPath;
      };
      expected = {
        web = { exec = [ "/bin/web" ]; user = "web"; };
        etc = [ "motd" "passwd" ];
        accounts = [ false 1000 ];
        modules = [ true true ];
        hostName = "joined";
        builds = true;
      };
    };
    volumesAreWritten = {
      actual =
        let
          config = system {
            rollinit.volumes.data = { serial = "vol-1"; mountPoint = "/data"; options = [ "noatime" ]; };
            rollinit.volumes.inner = { serial = "vol-2"; mountPoint = "/data/in"; make = false; };
          };
          file = fromTOML (withoutContext config.environment.etc."rollinit/volumes.toml".text);
          service = fromTOML (withoutContext (fileOf "volume-inner" config));
        in
        {
          inherit (file.volumes.data) serial mount-point file-system wait-s;
          makes = builtins.length file.volumes.data.make;
          never = file.volumes.inner.make or [ ];
          inherit (service.service) kind requires;
        };
      expected = {
        serial = "vol-1";
        mount-point = "/data";
        file-system = "ext4";
        wait-s = 60;
        makes = 7;
        never = [ ];
        kind = "notify";
        requires = [ "volume-data" ];
      };
    };
    # Of NixOS's list only what implements systemd goes.
    baseModules = {
      actual = map (path: if builtins.isFunction path then "ours" else baseNameOf path)
        (import ../base { nixpkgs = ./stub; rollinit.packages = _: { }; });
      expected = [ "etc.nix" "systemd.nix" "nginx.nix" "build.nix" "ours" "ours" ];
    };
    shellWord = { actual = functions.shellWord "it's"; expected = "'it'\\''s'"; };
    soundSystemEvaluates = {
      actual = builtins.isString (system (web { })).system.build.toplevel.drvPath;
      expected = true;
    };
    shadowIsPrivate = { actual = (system { }).environment.etc.shadow.mode; expected = "0600"; };
  };

  error = {
    noTimeServer = failing
      "rollinit.chrony.servers is empty; name a server"
      { rollinit.chrony.enable = true; };
    oneBalancerOfTwoKinds = failing
      "rollinit.balancers.edge: an option of the other kind of balancer is set"
      {
        imports = [ storefront ];
        rollinit.balancers.edge = {
          kind = "haproxy";
          app = "shop";
          sockets = [ "lb:9999" ];
          backends = [ "web" ];
          targetGroups = [ "web" ];
        };
      };
    balancerOfNobody = failing
      "rollinit.balancers.edge: haproxy needs sockets, and servers or backends"
      {
        imports = [ storefront ];
        rollinit.balancers.edge = { kind = "haproxy"; app = "shop"; sockets = [ "lb:9999" ]; };
      };
    albWithoutCloud = failing
      "rollinit.balancers.front: an alb needs targetGroups, and rollinit.cloud.enable"
      {
        imports = [ storefront ];
        rollinit.balancers.front = { kind = "alb"; app = "shop"; targetGroups = [ "web" ]; };
      };
    fleetOfNobody = failing
      "rollinit.fleet: set ledger and group, or let user-data say them"
      { rollinit.fleet = { enable = true; group = "prod"; }; };
    tokenForNobody = failing
      "rollinit.webhook.tokenFile: a token for whom? set url or urlFile"
      { rollinit.webhook.tokenFile = "/token"; };
    onePersonTwice = failing
      "rollinit.releases.web.threshold: a number from 1 to that of the persons"
      {
        rollinit.releases.web = {
          url = "file:///x";
          signers = [ "# both are hers" "alice k" "alice l" ];
          threshold = 2;
        };
      };
    tooFewPersons = failing
      "rollinit.releases.web.threshold: a number from 1 to that of the persons"
      { rollinit.releases.web = { url = "file:///x"; signers = [ "alice k" ]; threshold = 2; }; };
    guardedName = failing
      "option rollinit.guardedAddresses.0: \"metadata\" is not a string matching"
      { rollinit.guardedAddresses = [ "metadata" ]; };
    unknownOption = failing
      "option rollinit.services.web.restrat does not exist; here are: "
      (web { restrat.policy = "no"; });
    wrongType = failing
      "option rollinit.services.web.exec: \"/bin/web\" is not a list"
      (web { exec = "/bin/web"; });
    wrongElement = failing
      "option rollinit.services.web.exec.1: 8080 is not a string"
      (web { exec = [ "/bin/web" 8080 ]; });
    badPolicy = failing
      "rollinit.services.web.restart.policy: \"sometimes\" is not null or one of \"always\", "
      (web { restart.policy = "sometimes"; });
    badDuration = failing
      "option rollinit.services.web.stop.timeout: \"10 seconds\" is not null or a string matching"
      (web { stop.timeout = "10 seconds"; });
    definedTwice = failing
      "option networking.hostName: defined twice, as \"a\" and as \"b\""
      { imports = [ { networking.hostName = "a"; } { networking.hostName = "b"; } ]; };
    noValue = failing
      "option users.users.web.group has no value and no default"
      { users.users.web.uid = 5; };
    noNumber = failing
      "users.users.web.uid: state its number, or set rollinit.activate.enable = true"
      { users.users.web.group = "root"; };
    badSetting = failing
      "option boot.kernel.sysctl.\"net.core.somaxconn\""
      {
        rollinit.activate.enable = true;
        boot.kernel.sysctl."net.core.somaxconn" = [ 1 ];
      };
    relativeProgram = failing
      "rollinit.services.web.exec: \"bin/web\" is not an absolute path"
      (web { exec = [ "bin/web" ]; });
    noProgram = failing "rollinit.services.web.exec is empty" (web { exec = [ ]; });
    unknownAfter = failing
      "rollinit.services.web.after: there is no service \"databse\"; there are: database, web"
      (web { after = [ "databse" ]; });
    disabledAfter = failing
      "rollinit.services.web.requires: there is no service \"database\"; there are: web"
      { imports = [ (web { requires = [ "database" ]; }) ];
        rollinit.services.database.enable = false; };
    itself = failing
      "rollinit.services.web.wants names the service itself"
      (web { wants = [ "web" ]; });
    portZero = failing
      "rollinit.services.web.listen \"http\": port 0 is refused"
      (web { listen = [ { name = "http"; tcp = "[::]:0"; } ]; });
    portTooHigh = failing
      "rollinit.services.web.listen \"http\": port 65536 is above 65535"
      (web { listen = [ { name = "http"; tcp = "[::]:65536"; } ]; });
    noAddress = failing
      "rollinit.services.web.listen \"http\": \"8080\" is not an address with a port"
      (web { listen = [ { name = "http"; tcp = "8080"; } ]; });
    neitherSocket = failing
      "rollinit.services.web.listen \"http\": give either `tcp` or `unix`"
      (web { listen = [ { name = "http"; } ]; });
    sameSocketName = failing
      "rollinit.services.web.listen: two sockets are named \"http\""
      (web { listen = map (tcp: { name = "http"; inherit tcp; }) [ "[::]:1" "[::]:2" ]; });
    reservedVariable = failing
      "rollinit.services.web.environment: LISTEN_FDS is set by the supervisor"
      (web { environment.LISTEN_FDS = "1"; });
    unknownUser = failing
      "rollinit.services.web.user: there is no user \"wbe\""
      (web { user = "wbe"; });
    badServiceName = failing
      "rollinit.services: \"a/b\" is not a service name"
      { rollinit.services."a/b".exec = [ "/bin/a" ]; };
    appTwoHealths = failing
      "rollinit.apps.shop.health: give one of http, tcp and notify, not http and notify"
      (shop { listen.http = 80; health = { http = "/up"; notify = { }; }; });
    appNotifyOfSimple = failing
      "rollinit.apps.shop.health.notify: an app of kind \"simple\" says nothing; set rollinit.apps."
      (shop { health.notify = { }; });
    appHealthWithoutSocket = failing
      "rollinit.apps.shop.health.http: there is no TCP socket to ask; add rollinit.apps.shop.listen"
      (shop { listen.local = "unix:/run/shop"; health.http = "/up"; });
    appHealthOfUnknownSocket = failing
      "rollinit.apps.shop.health.tcp.listen: there is no TCP socket \"web\"; there are: http"
      (shop { listen.http = 80; health.tcp.listen = "web"; });
    appPortsOfOne = failing
      "rollinit.apps.shop.ports: two different ports are needed, one for each side, as in"
      (shop { ports = [ 4000 4000 ]; });
    appPortsAndSockets = failing
      "rollinit.apps.shop.listen: an app with ports binds them itself and is given no sockets"
      (shop { ports = [ 4000 4001 ]; listen.http = 80; });
    appPortsByOverlap = failing
      "rollinit.apps.shop.swap.strategy: an app with ports is swapped by \"ports\" alone"
      (shop { ports = [ 4000 4001 ]; swap.strategy = "restart"; });
    appPortsWithoutPorts = failing
      "rollinit.apps.shop.swap.strategy: it needs a port for each side; set rollinit.apps.shop.ports"
      (shop { swap.strategy = "ports"; });
    appPortsAndPort = failing
      "rollinit.apps.shop.environment.PORT: it is set to the port of each side; leave it out"
      (shop { ports = [ 4000 4001 ]; environment.PORT = "80"; });
    appOverlapWithoutSocket = failing
      "rollinit.apps.shop.swap.strategy: overlap needs a TCP socket of the host's; add "
      (shop { swap.strategy = "overlap"; });
    appOverlapOnIPv6 = failing
      "the gate asks from 127.0.0.9, which [::1] does not hear; write \"[::]:PORT\""
      (shop { listen.http = "[::1]:80"; });
    appBadStrategy = failing
      "option rollinit.apps.shop.swap.strategy: \"blue\" is not null or one of \"overlap\", "
      (shop { swap.strategy = "blue"; });
    appRelativeHook = failing
      "rollinit.apps.shop.hooks.afterSwitch: \"smoke\" is not an absolute path; write \"\${closure}"
      (shop { hooks.afterSwitch = [ "smoke" ]; });
    appPortZero = failing
      "rollinit.apps.shop.listen.http: port 0 is refused"
      (shop { listen.http = 0; });
    appUnknownAfter = failing
      "rollinit.apps.shop.after: there is no service \"databse\"; there are: database, "
      (shop { after = [ "databse" ]; });
    appUnknownUser = failing "rollinit.apps.shop.user: there is no user" (shop { user = "shp"; });
    appNamedAsService = failing
      "rollinit.services.shop: the app \"shop\" needs this name"
      { imports = [ storefront ]; rollinit.services.shop.exec = [ "/bin/shop" ]; };
    serviceNamedAsSide = failing
      "rollinit.services.shop.1: the app \"shop\" needs this name"
      { imports = [ storefront ]; rollinit.services."shop.1".exec = [ "/bin/shop" ]; };
    agentWithoutKeys = failing
      "rollinit.agent.caches: nothing could be fetched without a key to trust"
      { rollinit.agent = { enable = true; caches = [ "http://cache" ]; }; };
    agentBadKey = failing
      "option rollinit.agent.keys.0: \"cache-1:abc\" is not a string matching"
      { rollinit.agent = { enable = true; keys = [ "cache-1:abc" ]; }; };
    sameUid = failing
      "users.users.web.uid: 0 is taken by root"
      { users.users.web = { uid = 0; group = "root"; }; };
    unknownGroup = failing
      "users.users.web.group: there is no group \"web\"; add users.groups.web.gid"
      { users.users.web = { uid = 5; group = "web"; }; };
    badHostName = failing
      "option networking.hostName: \"a_b\" is not a string matching"
      { networking.hostName = "a_b"; };
    volumeWithoutDisk = failing
      "rollinit.volumes.data: which disk is meant is not said, or twice; set serial or tag"
      { rollinit.volumes.data.mountPoint = "/data"; };
    volumeByTagAlone = failing
      "rollinit.volumes.data.tag: nobody would ask EC2 for it"
      { rollinit.volumes.data = { mountPoint = "/d"; tag = { key = "Name"; value = "x"; }; }; };
    volumesOnOnePlace = failing
      "rollinit.volumes: /d1 is the mountPoint of two volumes"
      {
        rollinit.volumes.a = { mountPoint = "/d1"; serial = "a"; };
        rollinit.volumes.b = { mountPoint = "/d1"; serial = "b"; };
      };
    tomlFunction = {
      value = toTOML { a.b = x: x; };
      message = "toTOML: a.b is a lambda; TOML has no such thing";
    };
  };
}
