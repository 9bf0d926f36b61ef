{
  description = "rollinit: PID 1 and supervisor for single-purpose NixOS servers";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      system = "x86_64-linux";
      base = nixpkgs.legacyPackages.${system};
      # What nixos/ expects of a package set; offline.nix makes the same of Debian's packages.
      own = {
        inherit (self.packages.${system}) rollinit rollinit-image-tools rollinit-initrd-tools;
      };
      pkgs = base // own;
      guest = configuration: nixpkgs.lib.evalModules {
        modules = import ./nixos/modules ++ [ configuration ];
        specialArgs = { inherit pkgs; };
      };
      plain = import ./nixos/tests/configurations/plain.nix;
    in
    {
      packages.${system} = import ./nixos/packages.nix { pkgs = base; source = self; } // {
        default = self.packages.${system}.rollinit;
        # disk.img, and `closure`, what is in it: docs/ec2.md.
        qemu-image = self.nixosConfigurations.qemu.config.system.build.image;
        ec2-image = self.nixosConfigurations.ec2.config.system.build.image;
      };

      # nixpkgs.lib.nixosSystem with rollinit in the place of systemd: docs/nix.md.
      lib.nixosSystem = arguments: nixpkgs.lib.nixosSystem (arguments // {
        baseModules = import ./nixos/base {
          inherit nixpkgs;
          rollinit.packages = _: own;
        };
      });

      # rollinit.{services,apps,agent} for a configuration of your own; the rest of nixos/modules
      # carries NixOS's option names and replaces NixOS's modules instead of joining them.
      nixosModules.default.imports = [
        ./nixos/modules/services.nix
        ./nixos/modules/apps.nix
        ./nixos/modules/agent.nix
      ];

      # Whole systems of our modules on nixpkgs' packages.
      nixosConfigurations.qemu = guest plain;
      nixosConfigurations.ec2 = guest (import ./nixos/ec2.nix);

      # What lib.nixosSystem makes of a configuration of NixOS; nixos/tests/nixpkgs.sh evaluates it.
      legacyPackages.${system}.nixos-example = (self.lib.nixosSystem {
        inherit system;
        modules = [ (import ./nixos/tests/configurations/nixos.nix) ];
      }).config.system.build.toplevel;

      apps.${system} = {
        default = {
          type = "app";
          program = "${import ./nixos/run-qemu.nix {
            inherit pkgs;
            inherit (self.nixosConfigurations.qemu) config;
          }}/bin/rollinit-qemu";
        };
        # nix run .#vm -- IMAGE|SYSTEM --user-data FILE
        vm = {
          type = "app";
          program = "${import ./nixos/run-vm.nix { inherit pkgs; }}/bin/rollinit-vm";
        };
      };

      checks.${system} = {
        inherit (self.packages.${system}) rollinit;
        toplevel = self.nixosConfigurations.qemu.config.system.build.toplevel;
        # Not built if its closure has systemd, Perl or bash in it.
        ec2-image = self.packages.${system}.ec2-image;
        evaluation = import ./nixos/tests/check.nix { pkgs = base; };
      };

      devShells.${system}.default = base.mkShell {
        packages = [
          base.cargo base.rustc base.clippy base.rustfmt base.qemu base.nix base.patchelf
          base.e2fsprogs base.util-linux base.zstd base.dosfstools base.mtools base.OVMF
        ];
      };
    };
}
