# What a type cannot say about `rollinit.services`: a list of { assertion; message; }.
#
# `rollinit check` judges the same definitions again with the supervisor's own code; these are here
# so that a mistake fails at evaluation, under the name of the option that made it.
{ lib }:
{ services, users, groups }:
let
  inherit (builtins)
    attrNames concatMap concatStringsSep elem elemAt filter head length map match stringLength
    substring;

  enabled = filter (name: services.${name}.enable) (attrNames services);
  option = service: key: "rollinit.services.${service}.${key}";
  require = condition: message: { assertion = condition; inherit message; };

  program = service:
    let exec = services.${service}.exec; in
    if exec == [ ] then
      [ (require false "${option service "exec"} is empty; write the program and its arguments") ]
    else
      [ (require (substring 0 1 (head exec) == "/")
        "${option service "exec"}: ${builtins.toJSON (head exec)} is not an absolute path; ${
          "write \"\${package}/bin/…\" (no PATH is searched)"}") ];

  serviceName = service: [
    (require (match "[A-Za-z0-9][A-Za-z0-9_.-]*" service != null && stringLength service <= 64)
      "rollinit.services: ${builtins.toJSON service} is not a service name; ${
        "use at most 64 letters, digits, - _ and ."}")
  ];

  relations = service: concatMap (key: map (other:
    require (elem other enabled && other != service)
      (if other == service then "${option service key} names the service itself"
      else "${option service key}: there is no service ${builtins.toJSON other}; there are: ${
        concatStringsSep ", " enabled}"))
    services.${service}.${key}) [ "after" "before" "requires" "wants" ];

  # "[::]:8080" and "0.0.0.0:8080" -> "8080"; null when it is neither.
  portOf = address:
    let parts = match "(\\[[0-9a-fA-F:.]+]|[0-9.]+):([0-9]{1,5})" address; in
    if parts == null then null else elemAt parts 1;
  number = text: builtins.fromJSON (head (match "0*([0-9]+)" text));

  tcpAddress = where: address:
    let port = portOf address; in
    if port == null then
      [ (require false "${where}: ${builtins.toJSON address} is not an address with a port; ${
        "write \"[::]:8080\" or \"127.0.0.1:8080\""}") ]
    else [
      (require (number port != 0) "${where}: port 0 is refused; a kept socket needs a fixed port")
      (require (number port <= 65535) "${where}: port ${port} is above 65535")
    ];

  sockets = service:
    let
      listen = services.${service}.listen;
      twice = filter (s: length (filter (other: other.name == s.name) listen) > 1) listen;
      one = socket:
        let where = "${option service "listen"} ${builtins.toJSON socket.name}"; in
        [ (require ((socket.tcp == null) != (socket.unix == null))
          "${where}: give either `tcp` or `unix`") ]
        ++ (if socket.tcp == null then [ ] else tcpAddress where socket.tcp);
    in
    concatMap one listen ++ map (socket: require false
      "${option service "listen"}: two sockets are named ${builtins.toJSON socket.name}") twice;

  reserved = [ "LISTEN_FDS" "LISTEN_FDNAMES" "LISTEN_PID" "NOTIFY_SOCKET" ];
  variables = service: map (name:
    if elem name reserved then
      require false
        "${option service "environment"}: ${name} is set by the supervisor; leave it out"
    else require (match "[A-Za-z_][A-Za-z0-9_]*" name != null)
      "${option service "environment"}: ${builtins.toJSON name} is not a name of a variable")
    (attrNames services.${service}.environment);
  # Numbers are taken as they are: they need no name on this host.
  account = kind: known: where: name:
    let
      isNumber = name == null || match "[0-9]+" name != null;
      names = concatStringsSep ", " known;
    in
    require (isNumber || elem name known)
      "${where}: there is no ${kind} ${builtins.toJSON name}; there are: ${names}";
  accounts = service:
    let
      settings = services.${service};
      user = account "user" users;
      group = account "group" groups;
      ofSocket = socket:
        let where = "${option service "listen"} ${builtins.toJSON socket.name}"; in
        [ (user "${where}, user" socket.user) (group "${where}, group" socket.group) ];
    in
    [ (user (option service "user") settings.user) (group (option service "group") settings.group) ]
    ++ map (group (option service "groups")) settings.groups
    ++ concatMap ofSocket settings.listen;
in
concatMap (service: concatMap (check: check service)
  [ serviceName program relations sockets variables accounts ]) enabled
