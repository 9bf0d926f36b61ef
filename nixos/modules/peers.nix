# `rollinit.peers`: hosts of a group that fetch closures from each other. It becomes the section
# [peers] of /etc/rollinit/agent.toml (docs/peers.md).
{ config, lib, ... }:
let
  functions = import ../lib { inherit lib; pkgs = null; };
  inherit (lib) types;
  inherit (functions.options) list optional;
  cfg = config.rollinit.peers;
  # A number and no name: nothing is looked up for a peer.
  address = types.strMatching "([0-9.]+|[[][0-9a-fA-F:.]+[]]):[0-9]{1,5}";
in
{
  options.rollinit.peers = {
    enable = optional types.bool
      "Whether closures are shared; by default in a fleet, and where hosts are named.";
    listen = optional address "Where the store is served; by default \"[::]:7465\".";
    advertise = optional address
      "Where the others find it; by default the address of the host's way out, and the port.";
    hosts = list address "Peers beside those of the fleet.";
    open = optional types.bool "Whether others than peers are served, too; default: no.";
    bytesPerSecond = optional types.int "The most that is sent to all peers together.";
  };
  config.rollinit.agent.settings.peers = {
    inherit (cfg) enable listen advertise hosts open;
    bytes-per-second = cfg.bytesPerSecond;
  };
}
