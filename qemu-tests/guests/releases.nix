# Releases of the test apps, by name: what is swapped. `{ pkgs }: { NAME = package; }`.
#
# A release of ours has in `bin` links to the test app, and in `arguments` what each is to be; and a
# few files of its own, each a path, so that there is something to fetch.
{ pkgs }:
let
  inherit (builtins) concatStringsSep genList listToAttrs map;
  lines = words: concatStringsSep "" (map (word: "${word}\n") words);

  asset = version: number: pkgs.runCommand "asset-${version}-${toString number}" { } ''
    yes "asset ${toString number} of ${version}" | head -c 40000 > $out
  '';
  # What a compiled app brings of its own: some megabytes that hardly shrink.
  code = version: pkgs.runCommand "code-${version}" { } ''
    { cat ${pkgs.rollinit}/bin/rollinit-agent; echo ${version}; } > $out
  '';
  # Programs are lists of words; null: there is none of that name.
  release = releaseWith "";
  releaseWith = more: version: programs: pkgs.runCommand "storefront-${version}" { } ''
    mkdir -p $out/bin $out/arguments $out/assets
    ${more}
    ${concatStringsSep "\n" (genList (number:
      "ln -s ${asset version number} $out/assets/${toString number}") 5)}
    ${concatStringsSep "\n" (builtins.attrValues (builtins.mapAttrs (name: words: ''
      ln -s ${pkgs.rollinit-test-apps}/bin/rollinit-testapp $out/bin/${name}
      cp ${pkgs.writeText "arguments" (lines words)} $out/arguments/${name}
    '') programs))}
  '';
  serve = version: more: [ "web" "--version" version "--served" "/tmp/served" ] ++ more;
  smoke = [ "task" "smoke test passed" ];
  large = version: releaseWith "ln -s ${code version} $out/assets/code" version {
    serve = serve version [ ];
    inherit smoke;
  };
  sound = version: release version { serve = serve version [ ]; inherit smoke; };
  # Like `sound`, with another server, or none.
  bad = version: more: release version { serve = serve version more; inherit smoke; };
  migrating = version: words: release version {
    serve = serve version [ ];
    inherit smoke;
    migrate = [ "task" "migrated for ${version}" "--note" "/tmp/migrated" ] ++ words;
  };

  # Apps of other makes say what the load generator wants to hear: src/load/request.rs.
  script = name: version: interpreter: file: pkgs.runCommand "${name}-${version}" { } ''
    mkdir -p $out/bin
    { echo "#!${interpreter}"; sed "s/@version@/${version}/" ${file}; } > $out/bin/serve
    chmod +x $out/bin/serve
  '';
  python = version: script "python" version "${pkgs.python3}/bin/python3" ./serve.py;
  node = version: script "node" version "${pkgs.nodejs}/bin/node" ./serve.js;

  lib = import ../../nixos/lib/module-system.nix;
  system = (lib.evalModules {
    modules = import ../../nixos/modules ++ [
      ./ec2.nix
      { networking.hostName = lib.mkForce "became"; boot.kernelParams = [ "became=1" ]; }
    ];
    specialArgs = { inherit pkgs; };
  }).config.system.build.toplevel;
in
{
  v1 = sound "1";
  v2 = sound "2";
  # The four kinds of a bad release: it never starts, never accepts, says that it is not well, says
  # so after five good seconds.
  v3-missing = release "3-missing" { inherit smoke; };
  v3-deaf = bad "3-deaf" [ "--never-accept" ];
  v3-sick = bad "3-sick" [ "--up-status" "503" ];
  v3-fading = bad "3-fading" [ "--sick-after-ms" "5000" ];
  v4-migrated = migrating "4-migrated" [ "--after-ms" "500" ];
  v4-unmigrated = migrating "4-unmigrated" [ "--code" "3" ];
  v4-smoke = release "4-smoke" {
    serve = serve "4-smoke" [ ];
    smoke = [ "task" "smoke test failed" "--code" "1" ];
  };
  large-1 = large "large-1";
  large-2 = large "large-2";
  # What an instance may become: a system that no image has.
  inherit system;
  python-1 = python "1";
  python-2 = python "2";
  node-1 = node "1";
  node-2 = node "2";
} // listToAttrs (genList (number: {
  name = "r${toString number}";
  value = sound "r${toString number}";
}) 20)
