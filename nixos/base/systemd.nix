# The options of systemd that NixOS's modules set or read, and no more of it: whatever is written to
# them is accepted, and nothing is built of it. Service modules evaluate as they are; a service runs
# when it is one of `rollinit.services` or `rollinit.apps`.
{ config, lib, pkgs, utils, ... }:
let
  inherit (lib) mkOption types;
  # What nobody has declared is accepted.
  open = options: mkOption {
    type = types.submodule { freeformType = types.attrsOf types.anything; inherit options; };
    default = { };
    description = "Accepted, and not used: there is no systemd.";
  };
  option = type: default: mkOption {
    inherit type default;
    description = "Accepted, and not used: there is no systemd.";
  };
  any = option (types.attrsOf types.anything) { };
  # NixOS's own types where it exports them: modules read what they have set, defaults and all.
  units = kind: option utils.systemdUtils.types.${kind} { };
  nothing = pkgs.runCommand "no-systemd" { } ''
    mkdir -p $out/bin $out/lib/systemd $out/example/sysctl.d $out/example/tmpfiles.d
  '';
in
{
  options.systemd = open {
    services = units "services";
    sockets = units "sockets";
    timers = units "timers";
    paths = units "paths";
    slices = units "slices";
    targets = units "targets";
    mounts = option (types.listOf types.anything) [ ];
    automounts = option (types.listOf types.anything) [ ];
    units = any;
    packages = option (types.listOf types.package) [ ];
    package = option types.package (nothing // { interfaceVersion = 2; });
    globalEnvironment = any;
    defaultUnit = option types.str "multi-user.target";
    enableEmergencyMode = option types.bool false;
    tmpfiles = open {
      rules = option (types.listOf types.str) [ ];
      packages = option (types.listOf types.package) [ ];
      settings = any;
    };
    network = open { enable = option types.bool false; };
    sysusers = open { enable = option types.bool false; };
    user = open { services = any; };
    oomd = open { enable = option types.bool false; };
    coredump = open { enable = option types.bool false; };
  };
  options.boot.initrd.systemd = open {
    enable = option types.bool false;
    network = open { enable = option types.bool false; };
  };
  options.services = {
    journald = open { };
    logind = open { };
    resolved = open { enable = option types.bool false; };
    timesyncd = open { enable = option types.bool false; };
  };
}
