# The part of nixpkgs' package set that nixos/ uses, made of unpacked Debian packages.
#
# Where `pkgs` is nixpkgs these come from there. What is used of either: runCommand, writeText,
# busybox, nginx, e2fsprogs (also of pkgsStatic), xfsprogs, util-linux (for sfdisk), dosfstools,
# chrony, mtools, cacert, systemd (for its boot loader, a file), linuxPackages.kernel with bzImage
# and lib/modules, and rollinit's own; by test
# guests also python3 (with gunicorn) and nodejs. No compiler, no bash, no Perl; builders are
# busybox's shell.
{ debian        # the tree that debian.sh unpacked
, interpreters  # the other one, with Python and Node
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
      filter = path: type:
        if type == "directory" then baseNameOf path == "bin" else wanted (baseNameOf path);
    };
  };
  debianTree = builtins.path { name = "debian"; path = debian; };
  interpreterTree = builtins.path { name = "debian-interpreters"; path = interpreters; };
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
  # `place` is for what else has to be there; it adds programs and libraries of its own to $todo.
  # Where `tree` is not the tree of all packages, libraries come from both.
  gather = name: { files, tree ? debianTree, place ? "", finish ? "" }: runCommand name { } ''
    libraries=${debianTree}/lib/x86_64-linux-gnu:${debianTree}/usr/lib/x86_64-linux-gnu
    loader=${debianTree}/lib64/ld-linux-x86-64.so.2
    patchelf() { "$loader" --library-path "$libraries" ${debianTree}/usr/bin/patchelf "$@"; }
    find_library() {
      own=${tree}/lib/x86_64-linux-gnu:${tree}/usr/lib/x86_64-linux-gnu
      for directory in $(echo "$own:$libraries" | tr : ' '); do
        if [ -e "$directory/$1" ]; then echo "$directory/$1"; return; fi
      done
      echo "${name}: no package in debian.sh has $1" >&2
      exit 1
    }
    mkdir -p $out/bin $out/lib
    cp -L "$loader" $out/lib/
    todo=
    for file in ${concatStringsSep " " files}; do
      cp -L ${tree}/$file $out/bin/
      todo="$todo $out/bin/''${file##*/}"
    done
    ${place}
    objects=$todo
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
      objects="$objects $next"
    done
    chmod -R u+w $out
    for file in $objects; do
      # The loader loads itself, and the C library finds it by its path.
      case ''${file##*/} in ld-linux* | libc.so.6) continue ;; esac
      patchelf --set-rpath $out/lib "$file"
    done
    for file in $out/bin/*; do
      patchelf --set-interpreter $out/lib/ld-linux-x86-64.so.2 "$file"
    done
    ${finish}
  '';

  isRuntime = file: !isImageTool file && !isInitrdTool file;
  isImageTool = file: file == "rollinit-mkstore";
  isInitrdTool = file: elem file [ "rollinit-stage1" "rollinit-mkinitrd" ];
in
{
  inherit busybox runCommand;
  writeText = name: text: shell name { inherit text; passAsFile = [ "text" ]; } ''
    ${busyboxDirectory}/busybox cp "$textPath" $out
  '';

  e2fsprogs = gather "e2fsprogs" { files = [ "sbin/mke2fs" "sbin/debugfs" "sbin/e2fsck" ]; };
  pkgsStatic.e2fsprogs = runCommand "e2fsprogs-static" { } ''
    mkdir -p $out/bin
    cp ${debianTree}/sbin/e2fsck.static $out/bin/e2fsck
  '';
  xfsprogs = gather "xfsprogs" { files = [ "sbin/mkfs.xfs" ]; };
  util-linux = gather "util-linux" { files = [ "sbin/sfdisk" ]; };
  chrony = gather "chrony" { files = [ "usr/sbin/chronyd" "usr/bin/chronyc" ]; };
  dosfstools = gather "dosfstools" { files = [ "sbin/mkfs.vfat" ]; };
  mtools = gather "mtools" { files = [ "usr/bin/mcopy" ]; };
  # Mozilla's roots as one file, where nixpkgs' package has it.
  cacert = runCommand "ca-certificates" { } ''
    mkdir -p $out/etc/ssl/certs
    cat ${debianTree}/usr/share/ca-certificates/mozilla/*.crt > $out/etc/ssl/certs/ca-bundle.crt
  '';
  # The boot loader alone, where nixpkgs' package has it.
  systemd = runCommand "systemd-boot" { } ''
    mkdir -p $out/lib/systemd/boot
    cp -r ${debianTree}/usr/lib/systemd/boot/efi $out/lib/systemd/boot/
  '';
  # Debian's own configuration files come along; its compiled-in directories are below /var.
  nginx = gather "nginx" {
    files = [ "usr/sbin/nginx" ];
    finish = "cp -rL ${debianTree}/etc/nginx $out/conf";
  };

  # With its library beside bin/, which is how it finds it, gunicorn among it, all compiled ahead.
  python3 = gather "python3" {
    tree = interpreterTree;
    files = [ "usr/bin/python3.11" ];
    place = ''
      cp -r ${interpreterTree}/usr/lib/python3.11 ${interpreterTree}/usr/lib/python3 $out/lib/
      chmod -R u+w $out/lib
      for unused in idlelib lib2to3 pydoc_data test turtledemo unittest; do
        rm -rf $out/lib/python3.11/$unused
      done
      for module in _ssl _hashlib _ctypes _bz2 _lzma; do
        todo="$todo $(echo $out/lib/python3.11/lib-dynload/$module.*.so)"
      done
    '';
    finish = ''
      ln -s python3.11 $out/bin/python3
      $out/bin/python3 -m compileall -q --invalidation-mode unchecked-hash $out/lib
    '';
  };
  # What of its library Debian keeps in files is looked for at /usr/share/nodejs: `nodejs.modules`.
  nodejs = gather "nodejs" { tree = interpreterTree; files = [ "usr/bin/node" ]; } // {
    modules = runCommand "nodejs-modules" { } ''
      cp -rL ${interpreterTree}/usr/share/nodejs $out
    '';
  };

  # Two paths: a guest holds the kernel, and not 100 MB of modules that it never loads.
  linuxPackages.kernel = runCommand "linux-cloud" { } "mkdir $out; cp ${vmlinuz} $out/bzImage" // {
    modules = kernelTree;
  };

  rollinit = programs "rollinit" rollinit isRuntime;
  rollinit-image-tools = programs "rollinit-image-tools" rollinit isImageTool;
  rollinit-initrd-tools = programs "rollinit-initrd-tools" rollinit isInitrdTool;
  rollinit-test-apps =
    if testApps == null then
      throw "this configuration needs test programs; write --test-apps DIR (or --arg testApps)"
    else programs "rollinit-test-apps" testApps (_: true);
}
