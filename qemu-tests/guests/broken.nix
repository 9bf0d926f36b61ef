# One definition is broken (two mistakes), and one names a service that does not exist: the others
# must start all the same.
{ pkgs, ... }:
{
  imports = [ ../../nixos/tests/configurations/plain.nix ./agent.nix ];
  networking.hostName = "broken";
  environment.etc."rollinit/services/broken.toml".text = ''
    # A mistyped key on line 4, a wrong type on line 5.
    [service]
    exec = ["${pkgs.busybox}/bin/sleep", "infinity"]
    usr = "web"
    umask = true
  '';
}
