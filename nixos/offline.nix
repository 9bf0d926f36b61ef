# A guest built without a network: Debian's packages, rollinit's modules, Debian's nix-bin (2.8).
#
#   nixos/build.sh calls it and prepares every argument. By hand:
#   nix-build nixos/offline.nix -A image --arg configuration ./guest.nix --arg rollinit ./programs \
#       --arg debian ./target/debian/root --arg kernel ./target/debian/kernel \
#       --arg interpreters ./target/debian/interpreters
#
# Attributes: toplevel, initrd, image, etc, definitions; boot (links to all that QEMU needs);
# paths (links to the packages of --arg paths).
{ configuration ? ./tests/configurations/plain.nix
, rollinit                  # directory with bin/ of static programs, see build.sh
, debian, kernel            # what debian.sh made: root/ and kernel/
, interpreters              # and interpreters/
, testApps ? null           # directory with bin/ of test programs
, paths ? null              # file with a function { pkgs } -> { NAME = package; }
, system ? "x86_64-linux"
}:
let
  # Given by --arg as paths or by --argstr as strings.
  toPath = value: if builtins.isString value then /. + value else value;
  lib = import ./lib/module-system.nix;
  pkgs = import ./debian-packages.nix {
    inherit system;
    debian = toPath debian;
    kernel = toPath kernel;
    interpreters = toPath interpreters;
    rollinit = toPath rollinit;
    testApps = if testApps == null then null else toPath testApps;
  };
  inherit (lib.evalModules {
    modules = import ./modules ++ [ (toPath configuration) ];
    specialArgs = { inherit pkgs; };
  }) config;
  inherit (config.system) build;
  functions = import ./lib { inherit lib pkgs; };
  packages = import (toPath paths) { inherit pkgs; };
  write = name: text: "printf '%s\\n' ${functions.shellWord text} > $out/${name}";
in
rec {
  inherit config pkgs;
  inherit (build) toplevel initrd image etc;
  # Files and not links: read outside of the store's mount.
  definitions = pkgs.runCommand "rollinit-definitions" { } ''
    mkdir $out
    for file in ${build.etc}/etc/rollinit/services/*.toml; do
      if [ -e "$file" ]; then cp -L "$file" $out/; fi
    done
  '';
  paths = pkgs.runCommand "rollinit-paths" { } ''
    mkdir $out
    ${builtins.concatStringsSep "\n"
      (lib.mapAttrsToList (name: path: "ln -s ${path} $out/${name}") packages)}
  '';
  boot = pkgs.runCommand "rollinit-boot-${config.networking.hostName}" { } ''
    mkdir $out
    ln -s ${build.image}/disk.img $out/image
    ln -s ${build.image}/closure $out/closure
    ln -s ${config.boot.kernelPackages.kernel}/bzImage $out/kernel
    ln -s ${build.initrd}/initrd $out/initrd
    ln -s ${definitions} $out/definitions
    ${write "toplevel" "${build.toplevel}"}
    ${write "kernel-params" (builtins.concatStringsSep " " config.boot.kernelParams)}
    ${write "command-line" build.commandLine}
  '';
}
