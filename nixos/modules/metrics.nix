# `rollinit.metrics` and `rollinit.webhook`: what a host tells those who are elsewhere. They become
# the sections [metrics] and [webhook] of /etc/rollinit/agent.toml (docs/metrics.md).
{ config, lib, ... }:
let
  functions = import ../lib { inherit lib; pkgs = null; };
  inherit (lib) types;
  inherit (functions.options) optional;
  # A string: a path of Nix would be copied into the store, where everybody can read it.
  file = types.strMatching "/.*";
  cfg = config.rollinit;
in
{
  options.rollinit.metrics.listen = optional
    (types.strMatching "([0-9.]+|[[][0-9a-fA-F:.]+[]]):[0-9]{1,5}")
    "Where Prometheus finds /metrics: \"0.0.0.0:9465\"; by default nowhere.";
  options.rollinit.webhook = {
    url = optional (types.strMatching "https?://[^ @]+") "Where events are posted.";
    urlFile = optional file "A file with that address, where the address is itself a secret.";
    tokenFile = optional file "A file with a token that events are sent with.";
  };
  config = {
    assertions = [
      {
        assertion = cfg.webhook.url == null || cfg.webhook.urlFile == null;
        message = "rollinit.webhook: url and urlFile; leave one out";
      }
      {
        assertion = cfg.webhook.tokenFile == null || cfg.webhook.url != null
          || cfg.webhook.urlFile != null;
        message = "rollinit.webhook.tokenFile: a token for whom? set url or urlFile";
      }
    ];
    rollinit.agent.settings = {
      metrics = { inherit (cfg.metrics) listen; };
      webhook = {
        inherit (cfg.webhook) url;
        url-file = cfg.webhook.urlFile;
        token-file = cfg.webhook.tokenFile;
      };
    };
  };
}
