# The systems that a guest's own is swapped for. Each is what the guest itself is, and something more;
# it lies in the image's store and is named below /etc/systems.
{ lib, pkgs }:
{
  # The module of a guest of `base`, with a system of each name.
  of = base: systems:
    let
      toplevel = extra: (lib.evalModules {
        modules = import ../../nixos/modules ++ [ base extra ];
        specialArgs = { inherit pkgs; };
      }).config.system.build.toplevel;
    in
    {
      imports = [ base ];
      environment.etc = builtins.listToAttrs (map (name: {
        name = "systems/${name}";
        value.source = toplevel systems.${name};
      }) (builtins.attrNames systems));
    };

  # A system that does this before the test agent starts: who answers there has survived it.
  first = words: {
    rollinit.services.first = {
      exec = [ "${pkgs.busybox}/bin/sh" "-c" words ];
      kind = "oneshot";
    };
    rollinit.services.agent.after = [ "first" ];
  };
}
