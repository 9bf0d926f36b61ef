# All modules of a system that rollinit boots. services.nix alone adds only rollinit's options and
# can join a NixOS configuration; the others carry NixOS's own option names in a smaller subset.
[
  ./assertions.nix
  ./services.nix
  ./etc.nix
  ./users.nix
  ./kernel.nix
  ./host-name.nix
  ./packages.nix
  ./build.nix
]
