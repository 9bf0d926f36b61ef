# What a type cannot say about `rollinit.services` and `rollinit.apps`: a list of
# { assertion; message; }.
#
# `rollinit check` judges the same definitions again with the supervisor's own code; these are here
# so that a mistake fails at evaluation, under the name of the option that made it.
{ lib }:
{ services, apps, users, groups }:
let
  inherit (builtins)
    attrNames concatMap concatStringsSep elem elemAt filter head isString length map
    match stringLength substring;

  require = condition: message: { assertion = condition; inherit message; };
  quoted = builtins.toJSON;

  # --- both kinds -------------------------------------------------------------------------------
  # What is judged: { name; where = "rollinit.apps.web"; settings; sockets; }, a socket being
  # { where; tcp; unix; user; group; } under its option's name.
  option = unit: key: "${unit.where}.${key}";
  enabled = set: filter (name: set.${name}.enable) (attrNames set);
  names = enabled services ++ enabled apps;

  unitName = kind: unit: [
    (require (match "[A-Za-z0-9][A-Za-z0-9_.-]*" unit.name != null && stringLength unit.name <= 64)
      "rollinit.${kind}s: ${quoted unit.name} is not ${if kind == "app" then "an" else "a"} ${
        kind} name; use at most 64 letters, digits, - _ and .")
    (require (kind != "app" || unit.name != "system")
      "rollinit.apps: \"system\" stands for the host itself in swaps; call the app differently")
  ];

  relations = unit: concatMap (key: map (other:
    require (elem other names && other != unit.name)
      (if other == unit.name then "${option unit key} names the service itself"
      else "${option unit key}: there is no service ${quoted other}; there are: ${
        concatStringsSep ", " names}"))
    unit.settings.${key}) [ "after" "before" "requires" "wants" ];

  # "[::]:8080" and "0.0.0.0:8080" -> [ "[::]" "8080" ]; null when it is neither.
  parts = match "(\\[[0-9a-fA-F:.]+]|[0-9.]+):([0-9]{1,5})";
  number = text: builtins.fromJSON (head (match "0*([0-9]+)" text));

  tcpAddress = where: address:
    let port = elemAt (parts address) 1; in
    if parts address == null then
      [ (require false "${where}: ${quoted address} is not an address with a port; ${
        "write \"[::]:8080\" or \"127.0.0.1:8080\""}") ]
    else [
      (require (number port != 0) "${where}: port 0 is refused; a kept socket needs a fixed port")
      (require (number port <= 65535) "${where}: port ${port} is above 65535")
    ];

  socket = socket:
    [ (require ((socket.tcp == null) != (socket.unix == null))
      "${socket.where}: give either `tcp` or `unix`") ]
    ++ (if socket.tcp == null then [ ] else tcpAddress socket.where socket.tcp);

  reserved = [ "LISTEN_FDS" "LISTEN_FDNAMES" "LISTEN_PID" "NOTIFY_SOCKET" ];
  variables = unit: map (name:
    if elem name reserved then
      require false
        "${option unit "environment"}: ${name} is set by the supervisor; leave it out"
    else require (match "[A-Za-z_][A-Za-z0-9_]*" name != null)
      "${option unit "environment"}: ${quoted name} is not a name of a variable")
    (attrNames unit.settings.environment);
  # Numbers are taken as they are: they need no name on this host.
  account = kind: known: where: name:
    let isNumber = name == null || match "[0-9]+" name != null; in
    require (isNumber || elem name known)
      "${where}: there is no ${kind} ${quoted name}; there are: ${concatStringsSep ", " known}";
  accounts = unit:
    let
      inherit (unit) settings;
      user = account "user" users;
      group = account "group" groups;
      ofSocket = socket:
        let inherit (socket) where; in
        [ (user "${where}, user" socket.user) (group "${where}, group" socket.group) ];
    in
    [ (user (option unit "user") settings.user) (group (option unit "group") settings.group) ]
    ++ map (group (option unit "groups")) settings.groups
    ++ concatMap ofSocket unit.sockets;

  common = unit: concatMap (check: check unit) [ relations variables accounts ]
    ++ concatMap socket unit.sockets;

  # --- services ---------------------------------------------------------------------------------
  service = name:
    let
      settings = services.${name};
      where = "rollinit.services.${name}";
      named = one: one // { where = "${where}.listen ${quoted one.name}"; };
    in
    { inherit name where settings; sockets = map named settings.listen; };
  program = unit:
    let inherit (unit.settings) exec; in
    if exec == [ ] then
      [ (require false "${option unit "exec"} is empty; write the program and its arguments") ]
    else
      [ (require (substring 0 1 (head exec) == "/")
        "${option unit "exec"}: ${quoted (head exec)} is not an absolute path; ${
          "write \"\${package}/bin/…\" (no PATH is searched)"}") ];
  socketNames = unit:
    let
      twice = filter (s: length (filter (other: other.name == s.name) unit.settings.listen) > 1)
        unit.settings.listen;
    in
    map (socket: require false
      "${option unit "listen"}: two sockets are named ${quoted socket.name}") twice;
  # An app `web` runs as web.0 and web.1, and its tasks beside them.
  taken = unit: map (app: require (unit.name != app
      && !elem unit.name (map (part: "${app}.${part}") ownParts))
    "${unit.where}: the app ${quoted app} needs this name; call one of them differently")
    (enabled apps);
  ownParts = [ "0" "1" "migrate" "after_switch" "on_rollback" ];

  # --- apps -------------------------------------------------------------------------------------
  app = name:
    let
      settings = apps.${name};
      where = "rollinit.apps.${name}";
      none = { tcp = null; unix = null; user = null; group = null; };
      # "unix:/path" or an address, as docs/apps.md has it.
      read = text:
        let path = match "unix:(/.*)" text; in
        if path == null then none // { tcp = text; } else none // { unix = head path; };
      named = key:
        let value = settings.listen.${key}; in
        (if isString value then read value else value)
        // { name = key; where = "${where}.listen.${key}"; };
    in
    { inherit name where settings; sockets = map named (attrNames settings.listen); };
  ofTCP = unit: filter (socket: socket.tcp != null) unit.sockets;

  # A program of the closure or of the host: never looked up in PATH.
  isProgram = path: match "(/|\\$\\{closure}/).*" path != null;
  programs = unit:
    let
      inherit (unit.settings) exec migrate hooks;
      first = key: argv: if argv == [ ] then [ ] else [
        (require (isProgram (head argv)) "${option unit key}: ${quoted (head argv)} is not an ${
          "absolute path; write \"\${closure}/bin/…\" (in Nix: \"\\\${closure}/bin/…\")"}")
      ];
    in
    first "exec" exec
    ++ first "migrate" (if migrate == null || migrate == "" then [ ] else [ migrate ])
    ++ first "hooks.afterSwitch" hooks.afterSwitch ++ first "hooks.onRollback" hooks.onRollback;

  health = unit:
    let
      inherit (unit.settings) health;
      given = filter (kind: health.${kind} != null) [ "http" "tcp" "notify" ];
      asked = filter (kind: kind != "notify") given;
      tcpNames = map (socket: socket.name) (ofTCP unit);
      ofKind = kind:
        let
          socket = health.${kind}.listen or null;
          where = option unit "health.${kind}";
        in
        if unit.settings.ports != null then
          [ (require (socket == null)
            "${where}.listen: an app with ports is asked on its own; leave it out") ]
        else if tcpNames == [ ] then
          [ (require false "${where}: there is no TCP socket to ask; add ${option unit "listen"}") ]
        else
          [ (require (socket == null || elem socket tcpNames)
            "${where}.listen: there is no TCP socket ${quoted socket}; there are: ${
              concatStringsSep ", " tcpNames}") ];
    in
    [ (require (health.notify == null || unit.settings.kind == "notify")
      "${option unit "health.notify"}: an app of kind \"simple\" says nothing; set ${
        option unit "kind"} = \"notify\"") ]
    ++ [ (require (length given <= 1)
      "${option unit "health"}: give one of http, tcp and notify, not ${
        concatStringsSep " and " given}") ]
    ++ concatMap ofKind asked;

  strategy = unit:
    let
      addresses = filter (parts: parts != null) (map (socket: parts socket.tcp) (ofTCP unit));
      isSixOnly = address: address != "[::]" && match "\\[.*:.*]" address != null;
      sixOnly = filter isSixOnly (map head addresses);
      overlaps = unit.settings.swap.strategy == "overlap"
        || unit.settings.swap.strategy == null && addresses != [ ];
    in
    [ (require (unit.settings.swap.strategy != "overlap" || ofTCP unit != [ ])
      "${option unit "swap.strategy"}: overlap needs a TCP socket of the host's; add ${
        option unit "listen"}, or take \"restart\"") ]
    ++ map (address: require (!overlaps)
      "${option unit "listen"}: the gate asks from 127.0.0.9, which ${address} does not hear; ${
        "write \"[::]:PORT\", or take swap.strategy = \"restart\""}") sixOnly;
  # What each side binds by itself.
  ports = unit:
    let
      inherit (unit.settings) ports swap;
      where = option unit "ports";
    in
    if ports == null then
      [ (require (swap.strategy != "ports")
        "${option unit "swap.strategy"}: it needs a port for each side; set ${
          where} = [ 4000 4001 ]") ]
    else
      [ (require (length ports == 2 && head ports != elemAt ports 1 && !elem 0 ports)
        "${where}: two different ports are needed, one for each side, as in [ 4000 4001 ]")
        (require (unit.sockets == [ ])
        "${option unit "listen"}: an app with ports binds them itself and is given no sockets")
        (require (swap.strategy == null || swap.strategy == "ports")
        "${option unit "swap.strategy"}: an app with ports is swapped by \"ports\" alone")
        (require (!(unit.settings.environment ? PORT))
        "${option unit "environment"}.PORT: it is set to the port of each side; leave it out") ];
in
concatMap (unit: unitName "service" unit ++ program unit ++ socketNames unit ++ taken unit
  ++ common unit) (map service (enabled services))
++ concatMap (unit: unitName "app" unit ++ programs unit ++ health unit ++ strategy unit ++ ports unit
  ++ common unit) (map app (enabled apps))
