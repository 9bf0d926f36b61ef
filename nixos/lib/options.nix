# What `rollinit.services` and `rollinit.apps` have in common: helpers, types, and option sets.
#
# Option names are the keys of docs/services.md and docs/apps.md in camelCase. What is left at null
# is not written, so that the default is rollinit's own.
{ lib }:
let
  inherit (lib) mkOption types;
  inherit (builtins) listToAttrs map;
in
rec {
  optional = type: description: mkOption {
    type = types.nullOr type;
    default = null;
    inherit description;
  };
  list = type: description: mkOption {
    type = types.listOf type;
    default = [ ];
    inherit description;
  };
  group = options: description: mkOption {
    type = types.submodule { inherit options; };
    default = { };
    inherit description;
  };

  # As docs/services.md has it: "200ms", "1.5s", "5m".
  duration = types.strMatching "[0-9]+([.][0-9]{1,3})?(ms|s|m|h|d)";
  name = types.strMatching "[A-Za-z0-9][A-Za-z0-9_.-]*";
  # A name or a number in a string.
  account = types.strMatching "[A-Za-z0-9_.$-]{1,32}";
  octal = types.strMatching "[0-7]{3,4}";
  # A number, or "512M", or "infinity".
  amount = types.either types.int (types.strMatching "[0-9]+[KMGT]?|infinity");
  resource = types.either amount (types.submodule {
    options.soft = mkOption { type = amount; description = "What holds."; };
    options.hard = mkOption { type = amount; description = "What the process may raise it to."; };
  });

  ready.timeout = optional duration "How long it may take to become ready.";
  restart = {
    policy = optional (types.enum [ "always" "on-failure" "no" ]) "After which ends it restarts.";
    backoffMin = optional duration "Delay before the first restart in a row; it then doubles.";
    backoffMax = optional duration "Delay it does not grow beyond.";
    resetAfter = optional duration "A run that was ready for so long ends the row.";
    intensity = optional types.int "Restarts within `period` that are tolerated; null: any number.";
    period = optional duration "The time within which `intensity` counts.";
  };
  stop = {
    signal = optional types.str "First signal.";
    timeout = optional duration "Time before its whole cgroup is killed.";
    scope = optional (types.enum [ "leader" "group" "cgroup" ]) "Who gets the first signal.";
  };
  limits = {
    pidsMax = optional amount "pids.max of its cgroup.";
    memoryMax = optional amount "memory.max of its cgroup, in bytes.";
    memoryHigh = optional amount "memory.high of its cgroup, in bytes.";
    swapMax = optional amount "memory.swap.max of its cgroup, in bytes.";
    cpuWeight = optional types.int "cpu.weight of its cgroup, 1 to 10,000.";
  } // listToAttrs (map (key: {
    name = key;
    value = optional resource "Resource limit of setrlimit(2): a value, or { soft; hard; }.";
  }) [
    "cpu" "fsize" "data" "stack" "core" "rss" "nproc" "nofile" "memlock" "as" "locks"
    "sigpending" "msgqueue" "nice" "rtprio" "rttime"
  ]);
  # Where a secret comes from; it becomes a file below $CREDENTIALS_DIRECTORY. Never the secret.
  credential = types.submodule {
    options = {
      # A string: a path of Nix would be copied into the store, where everybody can read it.
      path = optional (types.strMatching "/.*") "A file of the host, read at each start.";
      ssm = optional (types.strMatching "[A-Za-z0-9_./:-]+") "A parameter of SSM.";
      onChange = optional (types.enum [ "none" "restart" "signal" ])
        "What its run is told when SSM has a new one; default: none.";
      signal = optional types.str "What onChange = \"signal\" sends; default: SIGHUP.";
    };
  };
  # Of a socket, beside its name and its TCP address.
  socket = {
    tcp = optional types.str "Address and port, as \"[::]:8080\" or \"127.0.0.1:8080\".";
    unix = optional types.path "Path of a Unix stream socket.";
    backlog = optional types.int "Connections that wait to be accepted.";
    mode = optional octal "Permission bits of the Unix socket, in octal.";
    user = optional account "Owner of the Unix socket; default: the service's user.";
    group = optional account "Group of the Unix socket; default: the service's group.";
  };

  # Who it runs as, where, when, and what happens when it ends.
  process = {
    enable = mkOption {
      type = types.bool;
      default = true;
      description = "Whether the definition is installed.";
    };
    early = mkOption {
      type = types.bool;
      default = false;
      description = "Whether it starts without waiting for the tasks of `rollinit.activate`.";
    };
    user = optional account "User to run as; default: root.";
    group = optional account "Primary group; default: the user's own.";
    groups = list account "Supplementary groups, beside those of the user.";
    directory = optional types.path "Working directory.";
    environment = mkOption {
      type = types.attrsOf (types.nullOr types.str);
      default = { };
      description = "Environment. PATH is set from `path` unless it is given here.";
    };
    path = list types.package "Packages whose bin/ comes first in PATH, before the system's own.";
    umask = optional octal "File mode bits that new files do not get, in octal.";
    oomScoreAdjust = optional types.int "How gladly it is killed when memory is short.";
    after = list name "It starts after these and stops before them.";
    before = list name "It starts before these and stops after them.";
    requires = list name "It starts only when these are ready.";
    wants = list name "Starting it by hand starts these too.";
    imds = optional types.bool "Whether its user may reach the cloud's metadata service.";
    credentials = mkOption {
      type = types.attrsOf credential;
      default = { };
      description = "Secrets that it gets as files below $CREDENTIALS_DIRECTORY, by name.";
    };
    ready = group ready "When it counts as ready.";
    restart = group restart "What happens when it ends.";
    stop = group stop "How it is stopped.";
    limits = group limits "What it may use.";
  };
}
