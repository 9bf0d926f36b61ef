# All modules of a system that rollinit boots. Those from services.nix to releases.nix add only
# rollinit's options and can join a NixOS configuration; the others carry NixOS's own option names in
# a smaller subset.
[
  ./assertions.nix
  ./services.nix
  ./apps.nix
  ./agent.nix
  ./cloud.nix
  ./fleet.nix
  ./balancers.nix
  ./peers.nix
  ./metrics.nix
  ./releases.nix
  ./user-data.nix
  ./etc.nix
  ./users.nix
  ./activate.nix
  ./tmpfiles.nix
  ./kernel.nix
  ./host-name.nix
  ./network.nix
  ./volumes.nix
  ./chrony.nix
  ./packages.nix
  ./boot-loader.nix
  ./boot-slots.nix
  ./build.nix
]
