# A package set for evaluation alone: every name that nixos/ uses, nothing that could be built.
#
# Tests evaluate against it where no Debian packages lie, and the stub flake stands in for nixpkgs.
let
  stub = name: derivation {
    inherit name;
    system = "x86_64-linux";
    builder = "/nonexistent";
  };
  # The script is part of the derivation, so what it names is part of the evaluation.
  withScript = name: environment: script: derivation (environment // {
    inherit name script;
    system = "x86_64-linux";
    builder = "/nonexistent";
  });
in
{
  runCommand = withScript;
  writeText = name: text: withScript name { } text;
  busybox = stub "busybox";
  nginx = stub "nginx";
  e2fsprogs = stub "e2fsprogs";
  pkgsStatic.e2fsprogs = stub "e2fsprogs-static";
  xfsprogs = stub "xfsprogs";
  btrfs-progs = stub "btrfs-progs";
  util-linux = stub "util-linux";
  dosfstools = stub "dosfstools";
  mtools = stub "mtools";
  systemd = stub "systemd";
  cacert = stub "cacert";
  chrony = stub "chrony";
  linuxPackages.kernel = stub "linux";
  qemu = stub "qemu";
  OVMF = stub "OVMF" // { fd = stub "OVMF-fd"; };
  glibc.static = stub "glibc-static";
  # The development shell's.
  cargo = stub "cargo";
  rustc = stub "rustc";
  clippy = stub "clippy";
  rustfmt = stub "rustfmt";
  nix = stub "nix";
  patchelf = stub "patchelf";
  zstd = stub "zstd";
  rollinit = stub "rollinit";
  rollinit-image-tools = stub "rollinit-image-tools";
  rollinit-initrd-tools = stub "rollinit-initrd-tools";
  rollinit-test-apps = stub "rollinit-test-apps";
  mkShell = environment: withScript "shell" { } (builtins.toJSON environment.packages);
  rustPlatform.buildRustPackage = arguments: withScript arguments.pname { } arguments.buildPhase;
  writeShellScriptBin = name: text: withScript name { } text;
}
