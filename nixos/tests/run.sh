#!/bin/sh
# nixos/tests/run.sh [--flake | --image DIR]: tests of nixos/, with any Nix from 2.8 on, offline.
#
# Without arguments: evaluation only (seconds; nothing is built, no store is needed).
# --flake: also evaluates every output of flake.nix, with nixos/tests/stub for nixpkgs; as root.
# --image, DIR being what build.sh takes as --rollinit: also builds every option into definitions,
# has `rollinit check` judge them, and builds an image twice to see that it has the same bytes.
# Exits 0 when all passed, else 1; each failure says what was expected.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0 passed=0
fail() { echo "FAILED $1"; failed=$((failed + 1)); }
pass() { passed=$((passed + 1)); }

evaluate() { # ATTRIBUTE FORM...: with a store that nothing can be written to
  attribute=$1
  shift
  NIX_REMOTE=dummy:// NIX_CONF_DIR=$work XDG_CACHE_HOME=$work \
    nix-instantiate --eval --strict --readonly-mode "$@" "$here" -A "$attribute"
}
: > "$work/nix.conf"

# All names first; a test that is not listed would be one that cannot fail.
names() {
  NIX_REMOTE=dummy:// NIX_CONF_DIR=$work XDG_CACHE_HOME=$work \
    nix-instantiate --eval --readonly-mode \
    --expr "toString (builtins.attrNames (import $here { }).$1)" | tr -d '"'
}
for name in $(names equal); do
  if ! evaluate "equal.$name.actual" > "$work/actual" 2> "$work/error"; then
    fail "$name: it does not evaluate: $(cat "$work/error")"
  elif evaluate "equal.$name.expected" > "$work/expected" && cmp -s "$work/actual" "$work/expected"
  then pass
  else fail "$name: expected $(cat "$work/expected"), got $(cat "$work/actual")"
  fi
done
for name in $(names error); do
  message=$(evaluate "error.$name.message" --json | sed 's/^"//; s/"$//; s/\\"/"/g')
  if evaluate "error.$name.value" > "$work/actual" 2> "$work/error"; then
    fail "$name: it should not evaluate, but is $(cat "$work/actual")"
  elif grep -qF -- "$message" "$work/error"; then pass
  else fail "$name: the error should say \"$message\" and says: $(cat "$work/error")"
  fi
done

if [ "${1:-}" = --flake ]; then
  # The flake's files alone, so that it does not matter what else lies in the tree or in Git.
  root=$here/../..
  mkdir -p "$work/flake" "$work/nix/store"
  cp -r "$root/flake.nix" "$root/flake.lock" "$root/Cargo.lock" "$root/nixos" "$work/flake"
  cp -r "$here/stub" "$work/stub"
  cp "$here/../lib/module-system.nix" "$work/stub"
  printf '%s\n' 'experimental-features = nix-command flakes' 'substituters =' > "$work/nix.conf"
  # shellcheck disable=SC2016  # $0 is for the inner shell
  if NIX_CONF_DIR=$work XDG_CACHE_HOME=$work NIX_REMOTE=local unshare -m --propagation private \
    sh -c 'mkdir -p /nix && mount --bind "$0/nix" /nix && exec nix flake check --no-build \
      --override-input nixpkgs "path:$0/stub" --no-write-lock-file "path:$0/flake"' "$work" \
    > "$work/error" 2>&1
  then pass
  else fail "flake: $(cat "$work/error")"
  fi
fi
if [ "${1:-}" = --image ]; then
  rollinit=$2 target=${3:-$here/../../target}
  build() {
    "$here/../build.sh" --target "$target" --rollinit "$rollinit" --out "$work/out" \
      --configuration "$here/configurations/every-option.nix" "$@"
  }
  build --attribute definitions
  if "$rollinit/bin/rollinit" check "$work/out/result"; then pass
  else fail "every-option: \`rollinit check\` refuses what the modules wrote"
  fi
  # Nix builds it again and compares.
  build --attribute image
  if build --attribute image --check; then pass
  else fail "image: a second build of the same inputs has other bytes"
  fi
  # The last --configuration counts.
  if build --configuration "$here/configurations/forbidden.nix" --attribute image 2> "$work/error"
  then fail "image: a closure with a forbidden name in it was built"
  elif grep -qF 'and the closure bash-0' "$work/error"; then pass
  else fail "image: the refusal should name bash-0 and says: $(cat "$work/error")"
  fi
fi
echo "nixos: $passed passed, $failed failed"
[ "$failed" = 0 ]
