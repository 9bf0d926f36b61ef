# The shape of NixOS's list: paths, none of which is read here.
[
  ./system/etc/etc.nix
  ./system/boot/systemd.nix
  ./system/boot/systemd/journald.nix
  ./system/boot/networkd.nix
  # Not systemd's own: a name alone tells nothing.
  ./services/misc/systemd.nix
  ./services/web-servers/nginx/nginx.nix
]
