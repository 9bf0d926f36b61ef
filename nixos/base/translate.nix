# From a configuration of NixOS to modules of rollinit: what is read of the one, and given to the
# other (../modules).
#
# Read: environment.etc, users, boot.{kernelPackages,kernelParams,kernelModules},
# boot.initrd.kernelModules, networking.hostName, and `rollinit`, in which all options of ../modules
# that begin with this word are set. Not environment.systemPackages: NixOS adds bash, Perl and systemd
# to it by itself.
{ lib }:
{ config, etcLeftOut, packages }:
let
  inherit (builtins) any attrNames filter listToAttrs map mapAttrs match;
  matches = expressions: name: any (expression: match expression name != null) expressions;
  without = set: expressions: listToAttrs (map (name: { inherit name; value = set.${name}; })
    (filter (name: !matches expressions name) (attrNames set)));
  file = entry: {
    inherit (entry) enable source mode uid gid;
  };
  # Accounts of NixOS's builders and of systemd's own daemons are of no use here.
  notHere = [ "nixbld[0-9]*" "systemd-.*" "messagebus" ];
  account = user: {
    inherit (user) uid group extraGroups description home;
    # What a login would start; nobody logs in.
    shell = "/run/current-system/sw/bin/nologin";
  };
in
{
  inherit (config) rollinit;
  environment.etc = mapAttrs (_: file) (without config.environment.etc etcLeftOut);
  environment.systemPackages = packages;
  users.users = mapAttrs (_: account) (without config.users.users notHere);
  users.groups = mapAttrs (_: group: { inherit (group) gid members; })
    (without config.users.groups notHere);
  boot = {
    inherit (config.boot) kernelPackages kernelParams kernelModules;
    initrd = { inherit (config.boot.initrd) kernelModules; };
  };
  networking.hostName = lib.mkOverride 90 config.networking.hostName;
}
