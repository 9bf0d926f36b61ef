# The tree that /etc/static leads to, from `environment.etc`.
#
# A derivation with the files themselves under `etc/` and, in `copied`, one line for each that must
# be a real file in /etc and not a link: "MODE UID GID NAME".
{ lib, pkgs, shellWord }:
entries:
let
  inherit (builtins) attrNames concatStringsSep filter map;
  enabled = filter (name: entries.${name}.enable) (attrNames entries);
  copied = filter (name: entries.${name}.mode != "symlink") enabled;
  place = name: ''
    mkdir -p "$(dirname $out/etc/${shellWord name})"
    ln -s ${shellWord "${entries.${name}.source}"} $out/etc/${shellWord name}
  '';
  line = name: let e = entries.${name}; in
    "echo ${shellWord "${e.mode} ${toString e.uid} ${toString e.gid} ${name}"} >> $out/copied\n";
in
pkgs.runCommand "etc" { } ''
  mkdir -p $out/etc
  : > $out/copied
  ${concatStringsSep "" (map place enabled ++ map line copied)}
''
