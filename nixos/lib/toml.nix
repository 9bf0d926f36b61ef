# toTOML: value -> TOML 1.0 text (https://toml.io/en/v1.0.0), on builtins only.
#
# Attribute sets become tables, lists of attribute sets arrays of tables, packages and paths their
# store path. Attributes that are null are left out: TOML has no null. Same value, same text.
let
  inherit (builtins)
    all any attrNames concatStringsSep filter fromJSON isAttrs isBool isFloat isInt isList isPath
    isString map match replaceStrings toJSON typeOf;

  key = name: if match "[A-Za-z0-9_-]+" name != null then name else string name;
  # JSON's escapes are TOML's, but for DEL, which JSON leaves as it is and TOML forbids.
  string = text: replaceStrings [ (fromJSON "\"\\u007f\"") ] [ "\\u007F" ] (toJSON text);
  isPackage = value: isAttrs value && value ? outPath;
  isTable = value: isAttrs value && !isPackage value;
  isTables = value: isList value && value != [ ] && all isTable value;
  present = table: filter (name: table.${name} != null) (attrNames table);

  inline = where: value:
    if isString value then string value
    else if isBool value then (if value then "true" else "false")
    else if isInt value || isFloat value then toJSON value
    else if isPackage value || isPath value then string "${value}"
    else if isList value then "[${concatStringsSep ", " (map (inline where) value)}]"
    else if isTable value then inlineTable where value
    else throw "toTOML: ${concatStringsSep "." where} is a ${typeOf value}; TOML has no such thing";
  inlineTable = where: value:
    let pair = name: "${key name} = ${inline (where ++ [ name ]) value.${name}}"; in
    if present value == [ ] then "{}"
    else "{ ${concatStringsSep ", " (map pair (present value))} }";

  # Plain values come first: what follows a [header] belongs to it.
  table = where: value:
    let
      plain = filter (n: !isTable value.${n} && !isTables value.${n}) (present value);
      tables = filter (n: isTable value.${n}) (present value);
      arrays = filter (n: isTables value.${n}) (present value);
      header = name: concatStringsSep "." (map key (where ++ [ name ]));
      line = n: "${key n} = ${inline (where ++ [ n ]) value.${n}}\n";
      # A table of nothing but tables needs no line of its own.
      hasOwn = t: present t == [ ] || any (n: !isTable t.${n} && !isTables t.${n}) (present t);
      subTable = n: (if hasOwn value.${n} then "\n[${header n}]\n" else "")
        + table (where ++ [ n ]) value.${n};
      element = n: e: "\n[[${header n}]]\n${table (where ++ [ n ]) e}";
      array = n: concatStringsSep "" (map (element n) value.${n});
    in
    concatStringsSep "" (map line plain ++ map subTable tables ++ map array arrays);
in
value: table [ ] value
