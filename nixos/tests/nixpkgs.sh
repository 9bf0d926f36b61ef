#!/bin/sh
# nixos/tests/nixpkgs.sh PATH: evaluates nixos/ and the flake against the nixpkgs tree at PATH. Nothing
# is built or downloaded. For people who have one; CI has none.
#
#   a tree with lib/ alone   the tests of nixos/tests/default.nix by nixpkgs' own module system; any Nix
#   a whole tree             also, by a Nix that the tree accepts (2.18 or newer), the derivations of
#                            nixosConfigurations.{qemu,ec2}, toplevel and image, and of a small system
#                            of lib.nixosSystem: NixOS's modules without systemd
#
# Prints what was evaluated, by which Nix, against which release. Exits 0 when all of it evaluated.
set -eu
[ $# -eq 1 ] && [ -d "$1/lib" ] || { sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
tree=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
: > "$work/nix.conf"

release=$(cat "$tree/lib/.version" "$tree/.version" 2> /dev/null | head -n 1)
echo "$(nix --version), nixpkgs ${release:-of an unknown release}"

# As run.sh does, with another `lib`.
evaluate() {
  NIX_REMOTE=dummy:// NIX_CONF_DIR=$work XDG_CACHE_HOME=$work \
    nix-instantiate --eval --strict --readonly-mode --json \
    --expr "(import $here { lib = import $tree/lib; }).$1" 2> "$work/error"
}
names() {
  NIX_REMOTE=dummy:// NIX_CONF_DIR=$work XDG_CACHE_HOME=$work \
    nix-instantiate --eval --readonly-mode \
    --expr "toString (builtins.attrNames (import $here { }).$1)" | tr -d '"'
}
for name in $(names equal); do
  if actual=$(evaluate "equal.$name.actual") && expected=$(evaluate "equal.$name.expected") &&
    [ "$actual" = "$expected" ]; then passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED $name: expected ${expected:-}, got ${actual:-$(cat "$work/error")}"
  fi
done
# That they fail; the words are not ours.
for name in $(names error); do
  if evaluate "error.$name.value" > /dev/null; then
    failed=$((failed + 1))
    echo "FAILED $name: it should not evaluate"
  else passed=$((passed + 1))
  fi
done

if [ -d "$tree/pkgs" ]; then
  cat > "$work/nix.conf" <<CONF
experimental-features = nix-command flakes
CONF
  flake() { # WHAT: prints its derivation
    if path=$(NIX_CONF_DIR=$work nix eval --raw --override-input nixpkgs "path:$tree" \
      --no-write-lock-file "path:$here/../..#$1.drvPath" 2> "$work/error"); then
      passed=$((passed + 1))
      echo "$1: $path"
    else
      failed=$((failed + 1))
      echo "FAILED $1: $(cat "$work/error")"
    fi
  }
  for system in qemu ec2; do
    flake "nixosConfigurations.$system.config.system.build.toplevel"
    flake "nixosConfigurations.$system.config.system.build.image"
  done
  flake legacyPackages.x86_64-linux.nixos-example
fi
echo "nixpkgs: $passed passed, $failed failed"
[ "$failed" = 0 ]
