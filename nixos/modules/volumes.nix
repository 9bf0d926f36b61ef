# `rollinit.volumes.NAME`: a disk that holds data. Each becomes an entry of /etc/rollinit/volumes.toml
# and a service `volume-NAME`, which the services on it name in `requires`. docs/volumes.md.
{ config, lib, pkgs, ... }:
let
  functions = import ../lib { inherit lib pkgs; };
  inherit (builtins) attrNames concatMap filter length listToAttrs map stringLength substring;
  inherit (lib) mkIf mkOption types;
  inherit (functions.options) list optional;
  cfg = config.rollinit.volumes;
  names = attrNames cfg;
  program = "${config.rollinit.package}/bin/rollinit-activate";

  volume = { ... }: {
    options = {
      serial = optional types.str
        "The serial number of the disk. On EC2 the volume's id, with or without its dash.";
      tag = mkOption {
        type = types.nullOr (types.submodule {
          options = {
            key = mkOption { type = types.str; description = "The tag's key."; };
            value = mkOption { type = types.str; description = "The tag's value."; };
          };
        });
        default = null;
        description = ''
          The tag of the EBS volume, among those attached to this instance. The agent asks EC2
          (ec2:DescribeVolumes), so it needs rollinit.cloud.enable.
        '';
      };
      mountPoint = mkOption {
        type = types.strMatching "(/[^/ ]+)+";
        description = "Where it is mounted; made if it is missing.";
      };
      fileSystem = mkOption {
        type = types.enum [ "ext4" "xfs" "btrfs" ];
        default = "ext4";
        description = "The kind of its file system. Another kind on the disk is left alone.";
      };
      label = optional types.str "What its file system must be called; by default that is all one.";
      options = list types.str "Options of the mount, behind nodev and nosuid; dev and suid lift these.";
      make = mkOption {
        type = types.bool;
        default = true;
        description = "Whether a blank disk gets a file system.";
      };
      makeOptions = list types.str "Further words for what makes it.";
      wait = mkOption {
        type = types.ints.positive;
        default = 60;
        description = ''
          How long it may take to appear, in seconds. One that comes later is left alone until
          somebody starts its service.
        '';
      };
    };
  };

  # File systems bound what they can be called.
  called = name: bytes: if stringLength name > bytes then substring 0 bytes name else name;
  make = name: {
    ext4 = [ "${pkgs.e2fsprogs}/bin/mke2fs" "-q" "-F" "-t" "ext4" "-L" (called name 16) ];
    xfs = [ "${pkgs.xfsprogs}/bin/mkfs.xfs" "-q" "-f" "-L" (called name 12) ];
    btrfs = [ "${pkgs.btrfs-progs}/bin/mkfs.btrfs" "-q" "-f" "-L" name ];
  };
  check = {
    ext4 = [ "${pkgs.e2fsprogs}/bin/e2fsck" "-f" "-p" ];
    # Their own mount is their check.
    xfs = [ ];
    btrfs = [ ];
  };

  entry = name:
    let one = cfg.${name}; in {
      inherit (one) serial tag label options;
      mount-point = one.mountPoint;
      file-system = one.fileSystem;
      make = if one.make then (make name).${one.fileSystem} ++ one.makeOptions else [ ];
      check = check.${one.fileSystem};
      wait-s = one.wait;
    };

  # One that is mounted on another comes after it.
  isBelow = outer: inner: substring 0 (stringLength outer + 1) inner == "${outer}/";
  below = name: filter
    (other: isBelow cfg.${other}.mountPoint cfg.${name}.mountPoint)
    names;

  repeated = values: filter (value: length (filter (other: other == value) values) > 1) values;
  said = option: concatMap (name: filter (value: value != null) [ cfg.${name}.${option} ]) names;
  unique = option: map (value: {
    assertion = false;
    message = "rollinit.volumes: ${value} is the ${option} of two volumes; give each its own";
  }) (repeated (said option));
in
{
  options.rollinit.volumes = mkOption {
    type = types.attrsOf (types.submodule volume);
    default = { };
    description = "Disks that hold data.";
  };
  config = {
    assertions = unique "serial" ++ unique "mountPoint" ++ map (name: {
      assertion = (cfg.${name}.serial == null) != (cfg.${name}.tag == null);
      message = "rollinit.volumes.${name}: which disk is meant is not said, or twice; "
        + "set serial or tag";
    }) names ++ map (name: {
      assertion = cfg.${name}.tag == null || config.rollinit.cloud.enable;
      message = "rollinit.volumes.${name}.tag: nobody would ask EC2 for it; "
        + "set rollinit.cloud.enable, or serial in place of tag";
    }) names;

    environment.etc."rollinit/volumes.toml" = mkIf (names != [ ]) {
      text = ''
        # from rollinit.volumes
        ${functions.toTOML (functions.definition.withoutEmpty {
          volumes = listToAttrs (map (name: { inherit name; value = entry name; }) names);
        })}'';
    };
    rollinit.services = listToAttrs (map (name: {
      name = "volume-${name}";
      value = {
        exec = [ program "volume" "--" name ];
        kind = "notify";
        # Its own deadline is `wait`, and a large file system takes its time to be made.
        ready.timeout = "24h";
        # What it refused it would refuse again, and what came late may be in nobody's plan any more.
        restart.policy = "no";
        stop.timeout = "30s";
        after = map (other: "volume-${other}") (below name);
        requires = map (other: "volume-${other}") (below name);
      };
    }) names);
  };
}
