# `networking.hostName` and the files that name the host.
{ config, lib, ... }:
let
  name = config.networking.hostName;
in
{
  options.networking.hostName = lib.mkOption {
    # hostname(7): what a label of a domain name may be.
    type = lib.types.strMatching "([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)?";
    default = "rollinit";
    description = "The name of the host; \"\" leaves it to the network.";
  };
  config.environment.etc = {
    hostname = lib.mkIf (name != "") { text = name + "\n"; };
    hosts.text = ''
      127.0.0.1 localhost
      ::1 localhost
    '' + (if name == "" then "" else "127.0.0.2 ${name}\n");
  };
}
