# A system whose image must not be built: its closure has what it forbids. For run.sh --image.
{ pkgs, ... }:
{
  imports = [ ./plain.nix ];
  system.forbiddenDependenciesRegexes = [ "^bash" ];
  environment.systemPackages = [
    (pkgs.runCommand "bash-0" { } "mkdir -p $out/bin; echo > $out/bin/unwanted")
  ];
}
