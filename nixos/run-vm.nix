# bin/rollinit-vm: `rollinit vm` with all that it needs of QEMU, firmware and file systems.
{ pkgs }:
pkgs.writeShellScriptBin "rollinit-vm" ''
  export PATH=${pkgs.qemu}/bin:${pkgs.nix}/bin:${pkgs.e2fsprogs}/bin:${pkgs.util-linux}/bin:$PATH
  export ROLLINIT_FIRMWARE=${pkgs.OVMF.fd}/FV
  exec ${pkgs.rollinit}/bin/rollinit vm "$@"
''
