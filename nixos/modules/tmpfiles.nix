# `rollinit.tmpfiles.rules` and `boot.kernel.sysctl`: files that `rollinit-activate` reads, in the
# formats of tmpfiles.d(5) and sysctl.d(5). docs/activate.md has what of them it understands.
{ config, lib, ... }:
let
  inherit (lib) mkDefault mkIf mkOption types;
  inherit (builtins) concatStringsSep isBool toString;
  settings = lib.filterAttrs (_: value: value != null) config.boot.kernel.sysctl;
  text = value: if isBool value then (if value then "1" else "0") else toString value;
in
{
  options.rollinit.tmpfiles.rules = mkOption {
    type = types.listOf (types.strMatching "[^\n]+");
    default = [ ];
    example = [ "d /var/lib/web 0750 web web" ];
    description = "Files and directories to be there or gone: lines of tmpfiles.d(5).";
  };
  options.boot.kernel.sysctl = mkOption {
    type = types.attrsOf (types.nullOr (types.either types.bool (types.either types.int types.str)));
    default = { };
    example = { "net.core.somaxconn" = 4096; };
    description = "Settings of the kernel; null leaves one as it is.";
  };
  config = mkIf config.rollinit.activate.enable {
    # Before what is stated: of two lines for a path the first counts.
    environment.etc."tmpfiles.d/50-rollinit.conf".text =
      concatStringsSep "" (map (line: "${line}\n") config.rollinit.tmpfiles.rules);
    environment.etc."tmpfiles.d/90-rollinit-base.conf".text = ''
      d /var/log 0755 root root
      d /var/cache 0755 root root
      d /var/empty 0555 root root
      D! /tmp 1777 root root
      d /var/tmp 1777 root root
      d /root 0700 root root
      # Cores of services that may write some (limits.core): nobody reads another's.
      d /var/crash 1733 root root
    '';
    environment.etc."sysctl.d/60-nixos.conf".text = concatStringsSep ""
      (lib.mapAttrsToList (name: value: "${name}=${text value}\n") settings);
    boot.kernel.sysctl = {
      # The kernel's default is the working directory of whoever crashes.
      "kernel.core_pattern" = mkDefault "/var/crash/core.%e.%p.%t";
      # Nobody is led by a link, a FIFO or a file that another put into a shared directory.
      "fs.protected_symlinks" = mkDefault 1;
      "fs.protected_hardlinks" = mkDefault 1;
      "fs.protected_fifos" = mkDefault 1;
      "fs.protected_regular" = mkDefault 1;
      # Addresses of the kernel are of use to attackers alone.
      "kernel.kptr_restrict" = mkDefault 1;
    };
  };
}
