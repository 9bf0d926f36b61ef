# One evaluated `rollinit.services.NAME` or `rollinit.apps.NAME` -> the attribute set of its TOML
# definition.
#
# Option names are the keys of docs/services.md and docs/apps.md in camelCase; the definition has
# them in kebab-case. An option left at null is left out: rollinit's own default holds and is stated
# once.
{ lib }:
let
  inherit (builtins)
    attrNames concatStringsSep elem filter isAttrs isList isString listToAttrs map mapAttrs match split;

  # backoffMin -> backoff-min; NOFILE and already-kebab stay as they are.
  kebab = name:
    let
      part = piece: if isString piece then piece else "-${lower (builtins.head piece)}";
      lower = builtins.replaceStrings
        (letters "ABCDEFGHIJKLMNOPQRSTUVWXYZ") (letters "abcdefghijklmnopqrstuvwxyz");
      letters = text: map builtins.head (filter isList (split "(.)" text));
    in
    if match "[a-z]+([A-Z][a-z]*)+" name == null then name
    else concatStringsSep "" (map part (split "([A-Z])" name));

  isTable = value: isAttrs value && !(value ? outPath);
  isEmpty = value: value == null || value == [ ] || (isTable value && attrNames value == [ ]);
  # Attributes named by hosts and people keep their names: environment variables, credentials, an
  # app's sockets.
  clean = value:
    if isTable value then
      listToAttrs (filter (pair: !isEmpty pair.value) (map (name: {
        name = kebab name;
        value =
          if name == "environment" then dropEmpty value.${name}
          else if name == "listen" && isTable value.listen then mapAttrs (_: clean) value.listen
          else if name == "credentials" then mapAttrs (_: clean) value.credentials
          else clean value.${name};
      }) (attrNames value)))
    else if isList value then map clean value
    else value;
  dropEmpty = lib.filterAttrs (_: value: value != null);

  # Without the options that only Nix has, and with what they stand for.
  complete = settings: settings // {
    environment = {
      PATH = concatStringsSep ":"
        (map (package: "${package}/bin") settings.path ++ [ "/run/current-system/sw/bin" ]);
    } // settings.environment;
  };
  withoutNix = settings: removeAttrs
    (if settings.path == [ ] then settings else complete settings) [ "enable" "early" "path" ];
in
{
  withoutEmpty = clean;
  # Services or apps by name, each after all of `first` unless it is early or has said so itself.
  inOrder = first: mapAttrs (_: settings:
    if settings.early then settings
    else settings // {
      after = settings.after ++ filter (name: !elem name settings.after) first;
    });
  service = settings: { service = clean (withoutNix settings); };
  app = settings: { app = clean (withoutNix settings); };
}
