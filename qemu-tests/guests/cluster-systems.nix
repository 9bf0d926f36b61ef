# A host of a cluster whose own system is rolled: the host of the other cluster tests behind a loader
# that counts, and the systems that it is swapped for, each named below /etc/systems.
{ lib, pkgs, ... }:
let
  inherit (import ./systems.nix { inherit lib pkgs; }) of first;
  base = { lib, ... }: {
    imports = [ ./cluster.nix ];
    # TCG's own clock runs wrong while others have the processor.
    boot.kernelParams = [ "clocksource=acpi_pm" ];
    rollinit.bootSlots.blessAfter = "2s";
    # Of a host that reboots every app is out, whatever its strategy.
    rollinit.agent.settings.balancer = lib.mkForce (builtins.listToAttrs (map (name: {
      inherit name;
      value = {
        kind = "haproxy";
        app = name;
        sockets = [ "10.77.0.1:9999" ];
        backends = [ name ];
      };
    }) [ "web" "shop" "api" ]));
  };
  systems = {
    # Another command line: it takes a reboot.
    v2 = { boot.kernelParams = [ "system=v2" ]; };
    # The same as v2 but for a service: no reboot.
    live = {
      boot.kernelParams = [ "system=v2" ];
      rollinit.services.added = { exec = [ "${pkgs.busybox}/bin/sleep" "1000000" ]; };
    };
    # A kernel panic, as soon as there are services.
    v3 = { boot.kernelParams = [ "system=v3" ]; } // first "echo c > /proc/sysrq-trigger";
  };
in
of base systems
