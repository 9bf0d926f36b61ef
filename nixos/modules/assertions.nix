# `assertions`, as in NixOS: what the build refuses, in words.
{ lib, ... }:
{
  options.assertions = lib.mkOption {
    type = lib.types.listOf lib.types.unspecified;
    default = [ ];
    description = "Conditions of the build: a list of { assertion = …; message = …; }.";
  };
}
