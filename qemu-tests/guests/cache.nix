# The tests' binary cache: QEMU carries connections to this address to the harness, and nothing else
# leaves the guest. Its key was made by nixos/build.sh.
{ lib, pkgs, ... }:
{
  rollinit.agent = {
    enable = true;
    caches = [ "http://10.0.2.100" ];
    keys = [ (builtins.readFile "${pkgs.rollinit-test-apps}/cache-key") ];
  };
  rollinit.image.freeMiB = 256;
}
