{
  description = "rollinit: PID 1 and supervisor for single-purpose NixOS servers";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      system = "x86_64-linux";
      base = nixpkgs.legacyPackages.${system};
      # What nixos/ expects of a package set; offline.nix makes the same of Debian's packages.
      pkgs = base // {
        inherit (self.packages.${system}) rollinit rollinit-image-tools rollinit-initrd-tools;
      };
      guest = configuration: nixpkgs.lib.evalModules {
        modules = import ./nixos/modules ++ [ configuration ];
        specialArgs = { inherit pkgs; };
      };
      plain = import ./nixos/tests/configurations/plain.nix;
    in
    {
      packages.${system} = import ./nixos/packages.nix { pkgs = base; source = self; } // {
        default = self.packages.${system}.rollinit;
        image = self.nixosConfigurations.qemu.config.system.build.image;
      };

      # rollinit.{services,apps,agent} for a configuration of your own; the rest of nixos/modules
      # carries NixOS's option names and replaces NixOS's modules instead of joining them.
      nixosModules.default.imports = [
        ./nixos/modules/services.nix
        ./nixos/modules/apps.nix
        ./nixos/modules/agent.nix
      ];

      # A whole system of our modules on nixpkgs' packages.
      nixosConfigurations.qemu = guest plain;

      apps.${system}.default = {
        type = "app";
        program = "${import ./nixos/run-qemu.nix {
          inherit pkgs;
          inherit (self.nixosConfigurations.qemu) config;
        }}/bin/rollinit-qemu";
      };

      checks.${system} = {
        inherit (self.packages.${system}) rollinit;
        toplevel = self.nixosConfigurations.qemu.config.system.build.toplevel;
        evaluation = import ./nixos/tests/check.nix { pkgs = base; };
      };

      devShells.${system}.default = base.mkShell {
        packages = [
          base.cargo base.rustc base.clippy base.rustfmt base.qemu base.nix base.patchelf
          base.e2fsprogs base.util-linux base.zstd
        ];
      };
    };
}
