# rollinit's programs, built by nixpkgs: `rollinit` for hosts, `rollinit-initrd-tools` and
# `rollinit-image-tools` for builders.
#
# Two profiles and so several calls of Cargo: PID 1 and stage 1 are small and abort on a panic, the
# restartable programs are fast and unwind (see Cargo.toml).
{ pkgs, source }:
let
  target = "x86_64-unknown-linux-gnu";
  build = pname: calls: programs: pkgs.rustPlatform.buildRustPackage {
    inherit pname;
    version = "0.1.0";
    src = source;
    cargoLock.lockFile = ../Cargo.lock;
    # The C library's static half: every program is one file without an interpreter.
    buildInputs = [ pkgs.glibc.static ];
    buildPhase = ''
      runHook preBuild
      ${builtins.concatStringsSep "\n" (map (call: "cargo build --offline --frozen ${call}") calls)}
      runHook postBuild
    '';
    installPhase = ''
      runHook preInstall
      ${builtins.concatStringsSep "\n" (map (program:
        "install -Dm555 target/${target}/${program} -t $out/bin") programs)}
      runHook postInstall
    '';
    # cargo xtask test is the test command; its tiers need QEMU and namespaces.
    doCheck = false;
  };
in
{
  rollinit = build "rollinit"
    [
      "--profile pid1 -p init"
      "--release -p supervisor -p agent -p activate -p network -p cli"
    ]
    [
      "pid1/rollinit-init"
      "release/rollinit-supervisor" "release/rollinit-agent" "release/rollinit-activate"
      "release/rollinit-network" "release/rollinit"
    ];
  rollinit-image-tools = build "rollinit-image-tools"
    [ "--release -p store --bin rollinit-mkstore" ]
    [ "release/rollinit-mkstore" ];
  rollinit-initrd-tools = build "rollinit-initrd-tools"
    [
      "--profile pid1 -p initrd --bin rollinit-stage1"
      "--release -p initrd --bin rollinit-mkinitrd"
    ]
    [ "pid1/rollinit-stage1" "release/rollinit-mkinitrd" ];
}
