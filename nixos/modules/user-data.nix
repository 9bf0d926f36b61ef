# `rollinit.userData`: that the host becomes what its user-data says. It becomes the section
# [user-data] of /etc/rollinit/agent.toml (docs/user-data.md).
{ config, lib, ... }:
let
  functions = import ../lib { inherit lib; pkgs = null; };
  inherit (lib) mkIf mkOption types;
  inherit (functions.options) optional;
  cfg = config.rollinit.userData;
in
{
  options.rollinit.userData = {
    enable = mkOption {
      type = types.bool;
      default = false;
      description = "Whether user-data is read and carried out.";
    };
    file = optional (types.strMatching "/[^ ]+")
      "A file that is read instead of asking the metadata service.";
  };
  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = config.rollinit.cloud.enable || cfg.file != null;
        message = "rollinit.userData.enable: there is nobody to ask; set rollinit.cloud.enable, or "
          + "rollinit.userData.file";
      }
    ];
    rollinit.agent.enable = true;
    rollinit.agent.settings.user-data =
      { enable = true; } // lib.filterAttrs (_: value: value != null) { inherit (cfg) file; };
  };
}
