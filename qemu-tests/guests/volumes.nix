# An EC2 host with data on disks of its own: made and grown, someone else's, late, found by a tag.
{ lib, pkgs, ... }:
{
  imports = [ ./ec2.nix ];
  networking.hostName = lib.mkForce "volumes";
  users.users.db = { uid = 1000; group = "db"; };
  users.groups.db.gid = 1000;
  rollinit.volumes = {
    data = { serial = "vol-0data"; mountPoint = "/var/lib/data"; options = [ "noatime" ]; };
    logs = { serial = "vol0logs"; mountPoint = "/srv/logs"; fileSystem = "xfs"; };
    foreign = { serial = "vol0foreign"; mountPoint = "/srv/foreign"; };
    late = { serial = "vol0late"; mountPoint = "/srv/late"; wait = 5; };
    # moto's answer is not the first thing that a booting host under TCG hears.
    tagged = { tag = { key = "Name"; value = "cache"; }; mountPoint = "/srv/cache"; wait = 600; };
  };
  # On the volume: the directory is made once it is mounted.
  rollinit.tmpfiles.rules = [ "d /var/lib/data/db 0700 db db -" ];
  # Fails unless the directory is there and its own.
  rollinit.services.db = {
    exec = [
      "${pkgs.busybox}/bin/sh" "-c"
      "echo begun >> /var/lib/data/db/log && exec ${pkgs.busybox}/bin/sleep 1000000"
    ];
    user = "db";
    requires = [ "volume-data" ];
    restart.policy = "no";
  };
}
