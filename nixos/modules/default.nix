# All modules of a system that rollinit boots. services.nix, apps.nix and agent.nix add only
# rollinit's options and can join a NixOS configuration; the others carry NixOS's own option names in
# a smaller subset.
[
  ./assertions.nix
  ./services.nix
  ./apps.nix
  ./agent.nix
  ./etc.nix
  ./users.nix
  ./kernel.nix
  ./host-name.nix
  ./packages.nix
  ./boot-loader.nix
  ./build.nix
]
