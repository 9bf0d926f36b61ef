# Accounts as files: passwd(5), group(5), shadow(5) from `users.users` and `users.groups`.
#
# No tool runs on the host and nothing is remembered between builds, so every account states its
# number. Every account is locked: nothing on the machine asks for a password.
{ lib }:
let
  inherit (builtins) attrNames concatStringsSep elem filter lessThan map sort;

  by = number: set: sort (a: b: lessThan (number set.${a}) (number set.${b})) (attrNames set);
  users = set: by (user: user.uid) set;
  lines = concatStringsSep "";
in
{
  passwd = set: groups: lines (map (name:
    let user = set.${name}; in
    "${name}:x:${toString user.uid}:${toString groups.${user.group}.gid}:${user.description}:"
    + "${user.home}:${toString user.shell}\n") (users set));

  # Members are those of `users.groups` and all users that name the group among their `extraGroups`.
  group = set: groups: lines (map (name:
    let
      joined = filter (user: elem name set.${user}.extraGroups) (attrNames set);
      named = filter (user: !elem user joined) groups.${name}.members;
    in
    "${name}:x:${toString groups.${name}.gid}:${concatStringsSep "," (joined ++ named)}\n")
    (by (group: group.gid) groups));

  # `!` locks; day 1 and not the day of the build, so that the same input gives the same file.
  shadow = set: lines (map (name: "${name}:!:1::::::\n") (users set));
}
