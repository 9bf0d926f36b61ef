# A host that swaps its own system, and the systems that it is swapped for: the guest of the tests
# `slots` and `slots-fall-back`. Each is in the image's store and named below /etc/systems.
{ lib, pkgs, ... }:
let
  inherit (import ./systems.nix { inherit lib pkgs; }) of first;
  base = { pkgs, ... }: {
    imports = [ ../../nixos/ec2.nix ./agent.nix ];
    networking.hostName = lib.mkForce "slots";
    boot.kernelModules = [ "virtio_pci" "virtio_net" ];
    environment.systemPackages = [ pkgs.busybox ];
    # There is no metadata service here, and nothing that asks for it.
    rollinit.cloud.enable = lib.mkForce false;
    rollinit.userData.enable = lib.mkForce false;
    rollinit.chrony.enable = lib.mkForce false;
    # Long enough for what goes wrong to go wrong, also on a busy machine.
    rollinit.bootSlots.blessAfter = "6s";
    # A hang is long enough after that.
    boot.kernelParams = [ "rollinit.watchdog=8" ];
  };
  systems = {
    # Another command line: it takes a reboot.
    good = { boot.kernelParams = [ "slot=good" ]; };
    # The same kernel with other services.
    live = {
      rollinit.services.added = { exec = [ "${pkgs.busybox}/bin/sleep" "1000000" ]; };
      environment.etc."slot-live".text = "live\n";
    };
    # A kernel panic, as soon as there are services.
    panics = { boot.kernelParams = [ "slot=panics" ]; }
      // first "echo c > /proc/sysrq-trigger";
    # Nothing but this gets the only processor: PID 1 does not turn, and does not feed the watchdog.
    hangs = { boot.kernelParams = [ "slot=hangs" ]; }
      // first "exec ${pkgs.rollinit-test-apps}/bin/rollinit-testapp starve";
    # It comes up, but never so far that it is blessed.
    silent = {
      boot.kernelParams = [ "slot=silent" ];
      rollinit.services.never = {
        exec = [ "${pkgs.busybox}/bin/sleep" "1000000" ];
        kind = "notify";
        ready.timeout = "1h";
      };
      rollinit.bootSlots = { blessWhen = [ "never" ]; blessWithin = "15s"; };
    };
  };
in
of base systems
