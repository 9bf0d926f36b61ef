# The part of nixpkgs' package set that nixos/ uses, made of unpacked Debian packages.
#
# Where `pkgs` is nixpkgs these come from there. What is used of either: runCommand, writeText,
# busybox, nginx, e2fsprogs, util-linux (for sfdisk), linuxPackages.kernel with bzImage and
# lib/modules, and rollinit's own two. No compiler, no bash, no Perl; builders are busybox's shell.
{ debian        # the tree that debian.sh unpacked
, kernel        # its kernel: vmlinuz and lib/modules/VERSION
, rollinit      # bin/ with rollinit's programs
, testApps      # bin/ with test programs, or null
, system
}:
let
  inherit (builtins) concatStringsSep elem map baseNameOf;

  # One path per purpose, so that a new command line does not rebuild the initramfs.
  programs = name: origin: wanted: {
    type = "derivation";
    inherit name;
    outPath = builtins.path {
      inherit name;
      path = origin;
      filter = path: type: type == "directory" || wanted (baseNameOf path);
    };
  };
  debianTree = builtins.path { name = "debian"; path = debian; };
  kernelTree = builtins.path {
    name = "debian-kernel-modules";
    path = kernel;
    filter = path: _: baseNameOf path != "vmlinuz" && baseNameOf path != "config";
  };
  vmlinuz = builtins.path { name = "vmlinuz"; path = kernel + "/vmlinuz"; };

  shell = name: environment: script: derivation ({
    inherit name system;
    # A program of many names looks at argv[0]; the store's file name is none of them.
    builder = "${busyboxDirectory}/busybox";
    args = [ "sh" "-euc" script ];
  } // environment);
  # `builtins.path` of a file gives HASH-busybox, which knows no applet of that name.
  busyboxDirectory = programs "busybox-program" (debian + "/bin") (file: file == "busybox");

  # bin/APPLET for every applet.
  busybox = shell "busybox" { } ''
    b=${busyboxDirectory}/busybox
    $b mkdir -p $out/bin
    for applet in $($b --list); do $b ln -s $b $out/bin/$applet; done
  '';

  runCommand = name: environment: script: shell name
    (environment // { PATH = "${busybox}/bin"; })
    "umask 022\n${script}";

  # Programs of Debian with all libraries they load, in one store path: the loader is named by its
  # path and finds the libraries beside it, so that nothing of Debian is needed where it runs.
  gather = name: files: extra: runCommand name { } ''
    libraries=${debianTree}/lib/x86_64-linux-gnu:${debianTree}/usr/lib/x86_64-linux-gnu
    loader=${debianTree}/lib64/ld-linux-x86-64.so.2
    patchelf() { "$loader" --library-path "$libraries" ${debianTree}/usr/bin/patchelf "$@"; }
    find_library() {
      for directory in $(echo "$libraries" | tr : ' '); do
        if [ -e "$directory/$1" ]; then echo "$directory/$1"; return; fi
      done
      echo "${name}: no package in debian.sh has $1" >&2
      exit 1
    }
    mkdir -p $out/bin $out/lib
    cp -L "$loader" $out/lib/
    todo=
    for file in ${concatStringsSep " " files}; do
      cp -L ${debianTree}/$file $out/bin/
      todo="$todo $out/bin/''${file##*/}"
    done
    while [ -n "$todo" ]; do
      next=
      for file in $todo; do
        for needed in $(patchelf --print-needed "$file"); do
          if [ -e $out/lib/$needed ]; then continue; fi
          found=$(find_library "$needed")
          cp -L "$found" $out/lib/$needed
          next="$next $out/lib/$needed"
        done
      done
      todo=$next
    done
    chmod -R u+w $out
    for file in $out/bin/*; do
      patchelf --set-interpreter $out/lib/ld-linux-x86-64.so.2 --set-rpath $out/lib "$file"
    done
    for file in $out/lib/*; do
      # The loader loads itself, and the C library finds it by its path.
      case ''${file##*/} in ld-linux* | libc.so.6) continue ;; esac
      patchelf --set-rpath $out/lib "$file"
    done
    ${extra}
  '';

  isRuntime = file: elem file [ "rollinit-init" "rollinit-supervisor" "rollinit" ];
  isInitrdTool = file: elem file [ "rollinit-stage1" "rollinit-mkinitrd" ];
in
{
  inherit busybox runCommand;
  writeText = name: text: shell name { inherit text; passAsFile = [ "text" ]; } ''
    ${busyboxDirectory}/busybox cp "$textPath" $out
  '';

  e2fsprogs = gather "e2fsprogs" [ "sbin/mke2fs" "sbin/debugfs" "sbin/e2fsck" ] "";
  util-linux = gather "util-linux" [ "sbin/sfdisk" ] "";
  # Debian's own configuration files come along; its compiled-in directories are below /var.
  nginx = gather "nginx" [ "usr/sbin/nginx" ] "cp -rL ${debianTree}/etc/nginx $out/conf";

  # Two paths: a guest holds the kernel, and not 100 MB of modules that it never loads.
  linuxPackages.kernel = runCommand "linux-cloud" { } "mkdir $out; cp ${vmlinuz} $out/bzImage" // {
    modules = kernelTree;
  };

  rollinit = programs "rollinit" rollinit isRuntime;
  rollinit-initrd-tools = programs "rollinit-initrd-tools" rollinit isInitrdTool;
  rollinit-test-apps =
    if testApps == null then
      throw "this configuration needs test programs; write --test-apps DIR (or --arg testApps)"
    else programs "rollinit-test-apps" testApps (_: true);
}
