# `rollinit.releases.APP`: where the release of an app is told, and who has to sign it. Each becomes
# a section [desired.APP] of /etc/rollinit/agent.toml, its signers a file beside it. docs/releases.md.
{ config, lib, ... }:
let
  functions = import ../lib { inherit lib; pkgs = null; };
  inherit (builtins) attrNames concatMap concatStringsSep filter head length listToAttrs map match split;
  inherit (lib) mkIf mkOption types;
  inherit (functions.options) duration list optional;
  cfg = config.rollinit.releases;
  names = attrNames cfg;
  # Store paths are of the system, and the system's own release may change who signs.
  file = types.strMatching "/[^ ]+";

  release = { ... }: {
    options = {
      url = mkOption {
        type = types.strMatching "(https?|s3|file)://[^ @]+|ledger:|tag:.+";
        description = ''
          Where it is: https://HOST/PATH, s3://BUCKET/KEY, file:///PATH, "ledger:" for the fleet's
          own, or "tag:NAME" for the instance's tag that names one of the first two.
        '';
      };
      signers = list types.str ''
        Lines of OpenSSH's allowed signers, `PERSON KEYTYPE BASE64`. Without any, and without
        signersFile, whoever may write the document is believed.
      '';
      signersFile = optional file "A file with such lines that somebody else puts there.";
      threshold = optional types.int "How many persons have to sign; by default 1.";
      every = optional duration "Between two looks; by default 30s.";
      group = optional types.str "The group that it must be for; by default the fleet's.";
      onlySigned = optional types.bool "Whether nothing else is ever swapped in; default: no.";
    };
  };

  signersOf = name: if cfg.${name}.signersFile != null
    then cfg.${name}.signersFile
    else if cfg.${name}.signers != [ ]
    then "/etc/rollinit/signers/${name}"
    else null;
  section = name: {
    inherit name;
    value = {
      inherit (cfg.${name}) url threshold every group;
      signers = signersOf name;
      only-signed = cfg.${name}.onlySigned;
    };
  };
  # Not keys: somebody may have several.
  persons = lines: length (attrNames (listToAttrs (map (line: {
    name = head (split "[ \t]" line);
    value = null;
  }) (filter (line: match "(#.*)?" line == null) lines))));
  withLines = concatMap (name: if cfg.${name}.signers == [ ] then [ ] else [ name ]) names;
  check = name:
    let
      own = cfg.${name};
      isSigned = signersOf name != null;
    in
    [
      {
        assertion = match "[A-Za-z0-9][A-Za-z0-9_.-]*" name != null;
        message = "rollinit.releases.${name}: no name of an app";
      }
      {
        assertion = own.signers == [ ] || own.signersFile == null;
        message = "rollinit.releases.${name}: signers and signersFile; leave one out";
      }
      {
        assertion = isSigned || (own.threshold == null && own.onlySigned != true);
        message = "rollinit.releases.${name}: who may sign? set signers or signersFile";
      }
      {
        assertion = own.threshold == null || own.threshold >= 1
          && (own.signersFile != null || own.threshold <= persons own.signers);
        message = "rollinit.releases.${name}.threshold: a number from 1 to that of the persons";
      }
      {
        assertion = own.url != "ledger:" || config.rollinit.fleet.enable;
        message = "rollinit.releases.${name}: whose ledger? set rollinit.fleet";
      }
      {
        assertion = match "(s3://|tag:).*" own.url == null || config.rollinit.cloud.enable;
        message = "rollinit.releases.${name}: ${own.url} needs rollinit.cloud.enable";
      }
    ];
in
{
  options.rollinit.releases = mkOption {
    type = types.attrsOf (types.submodule release);
    default = { };
    description = "Releases that are followed, by app; `system` is the host's own.";
  };
  config = mkIf (names != [ ]) {
    assertions = concatMap check names;
    rollinit.agent.enable = true;
    rollinit.agent.settings.desired = listToAttrs (map section names);
    environment.etc = listToAttrs (map (name: {
      name = "rollinit/signers/${name}";
      value.text = concatStringsSep "\n" cfg.${name}.signers + "\n";
    }) withLines);
  };
}
