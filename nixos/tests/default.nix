# Tests of nixos/lib and nixos/modules by evaluation; nixos/tests/run.sh runs them.
#
#   equal.NAME  = { actual; expected; }   the two must be the same value
#   error.NAME  = { value; message; }     evaluating `value` must fail, and say `message`
let
  lib = import ../lib/module-system.nix;
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
  fileOf = name: config: config.environment.etc."rollinit/services/${name}.toml".text;
  failing = message: module: {
    value = (system module).system.build.toplevel.drvPath;
    inherit message;
  };
  web = settings: { rollinit.services.web = { exec = [ "/bin/web" ]; } // settings; };

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
      # fromTOML takes no text that refers to the store.
      actual = (fromTOML (builtins.unsafeDiscardStringContext
        (fileOf "web" (system (web { path = [ pkgs.busybox ]; }))))).service.environment.PATH;
      expected = builtins.unsafeDiscardStringContext
        "${pkgs.busybox}/bin:/run/current-system/sw/bin";
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
    shellWord = { actual = functions.shellWord "it's"; expected = "'it'\\''s'"; };
    soundSystemEvaluates = {
      actual = builtins.isString (system (web { })).system.build.toplevel.drvPath;
      expected = true;
    };
    shadowIsPrivate = { actual = (system { }).environment.etc.shadow.mode; expected = "0600"; };
  };

  error = {
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
      "option users.users.web.uid has no value and no default"
      { users.users.web.group = "root"; };
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
    sameUid = failing
      "users.users.web.uid: 0 is taken by root"
      { users.users.web = { uid = 0; group = "root"; }; };
    unknownGroup = failing
      "users.users.web.group: there is no group \"web\"; add users.groups.web.gid"
      { users.users.web = { uid = 5; group = "web"; }; };
    badHostName = failing
      "option networking.hostName: \"a_b\" is not a string matching"
      { networking.hostName = "a_b"; };
    tomlFunction = {
      value = toTOML { a.b = x: x; };
      message = "toTOML: a.b is a lambda; TOML has no such thing";
    };
  };
}
