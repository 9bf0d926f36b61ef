# A part of a kernel's modules, with what depmod says of them: { tree, patterns } -> derivation with
# lib/modules/VERSION.
#
# `patterns` are of sh(1), for paths as `kernel/fs/ext4/ext4.ko`; what a module needs comes along. The
# lists of depmod are cut down to what is there, so that nobody is led to a file that is not.
{ lib, pkgs, shellWord }:
{ tree, patterns }:
pkgs.runCommand "rollinit-kernel-modules" { } ''
  from=$(echo ${tree}/lib/modules/*)
  to=$out/lib/modules/''${from##*/}
  mkdir -p $to
  # modules.dep: "kernel/a.ko: kernel/b.ko kernel/c.ko", with all that a needs, also indirectly.
  while IFS=: read -r file needs; do
    case $file in
      ${builtins.concatStringsSep " | " patterns})
        for one in $file $needs; do echo "$one"; done ;;
    esac
  done < $from/modules.dep | sort -u > kept
  [ -s kept ] || { echo "kernel-modules: no module matches" >&2; exit 1; }
  while read -r file; do
    mkdir -p "$to/''${file%/*}"
    cp "$from/$file" "$to/$file"
  done < kept
  awk -F: 'NR == FNR { kept[$1]; next } $1 in kept' kept $from/modules.dep > $to/modules.dep
  # `alias PATTERN NAME`; a name is its file's, with _ for -.
  awk 'NR == FNR {
      name = $1; sub(/.*\//, "", name); sub(/\.ko.*/, "", name); gsub(/-/, "_", name)
      kept[name]; next
    } $3 in kept' kept $from/modules.alias > $to/modules.alias
  for file in modules.softdep modules.builtin; do
    if [ -e "$from/$file" ]; then cp "$from/$file" $to/; fi
  done
''
