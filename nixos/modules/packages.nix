# `environment.systemPackages`: programs in /run/current-system/sw/bin beside rollinit's own.
{ lib, ... }:
{
  options.environment.systemPackages = lib.mkOption {
    type = lib.types.listOf lib.types.package;
    default = [ ];
    description = "Packages whose bin/ is in the system's PATH.";
  };
}
