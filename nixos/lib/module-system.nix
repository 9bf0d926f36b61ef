# A module evaluator on builtins only: the part of nixpkgs' `lib` that nixos/modules may use.
#
# The same modules run on nixpkgs' own `lib` (flake.nix) and here (offline.nix, tests), so this file
# holds no more than what they use: evalModules, mkOption, mkEnableOption, mkIf, mkMerge, mkDefault,
# mkForce, mkOverride, the types below and a handful of list functions. Semantics follow nixpkgs:
# priorities (the lowest number wins), conditions and merges may nest, lists concatenate.
let
  inherit (builtins)
    all attrNames concatLists concatMap concatStringsSep elem elemAt filter foldl' genList head
    isAttrs isBool isFunction isInt isList isPath isString length listToAttrs map mapAttrs match
    removeAttrs toJSON typeOf;

  # --- small helpers ---------------------------------------------------------------------------
  unique = foldl' (seen: x: if elem x seen then seen else seen ++ [ x ]) [ ];
  showPart = part: if match "[A-Za-z0-9_][A-Za-z0-9_'-]*" part != null then part else toJSON part;
  showOption = location: concatStringsSep "." (map showPart location);
  showValue = value:
    if isString value || isInt value || isBool value || value == null then toJSON value
    else if value ? outPath then "a package" else "a ${typeOf value}";
  # The definitions of attribute `name` in a list of attribute sets.
  select = name: concatMap (set: if set ? ${name} then [ set.${name} ] else [ ]);
  tagged = tag: value: isAttrs value && (value._type or null) == tag;

  # --- properties: mkIf, mkMerge, mkOverride ---------------------------------------------------
  mkIf = condition: content: { _type = "if"; inherit condition content; };
  mkMerge = contents: { _type = "merge"; inherit contents; };
  mkOverride = priority: content: { _type = "override"; inherit priority content; };
  defaultPriority = 100;

  # Conditions and merges resolved: a list of values, each perhaps an override.
  discharge = value:
    if tagged "if" value then (if value.condition then discharge value.content else [ ])
    else if tagged "merge" value then concatMap discharge value.contents
    else [ value ];
  # The same for a set whose attributes are asked for one by one: conditions move inwards.
  pushDown = value:
    if tagged "merge" value then concatMap pushDown value.contents
    else if tagged "if" value then
      map (mapAttrs (_: mkIf value.condition)) (pushDown value.content)
    else if tagged "override" value then
      map (mapAttrs (_: mkOverride value.priority)) (pushDown value.content)
    else [ value ];
  # The definitions of the strongest priority, with their properties resolved.
  strongest = definitions:
    let
      flat = concatMap discharge definitions;
      priority = value: if tagged "override" value then value.priority else defaultPriority;
      best = foldl' (least: v: if priority v < least then priority v else least) 9999 flat;
      content = value: if tagged "override" value then discharge value.content else [ value ];
    in concatMap content (filter (value: priority value == best) flat);

  # --- types -----------------------------------------------------------------------------------
  mkType = description: check: merge: { _type = "option-type"; inherit description check merge; };
  equal = location: values:
    if all (value: value == head values) values then head values
    else throw "option ${showOption location}: defined twice, as ${
      concatStringsSep " and as " (map showValue (unique values))}";
  mergeAttributes = type: location: values:
    listToAttrs (concatMap (name:
      let definitions = select name values; in
      if concatMap discharge definitions == [ ] then [ ]
      else [ { inherit name; value = mergeDefinitions type (location ++ [ name ]) definitions; } ])
      (unique (concatMap attrNames values)));

  types = rec {
    bool = mkType "true or false" isBool equal;
    int = mkType "an integer" isInt equal;
    str = mkType "a string" isString equal;
    path = mkType "an absolute path" (value:
      isPath value || value ? outPath || (isString value && match "/.*" value != null)) equal;
    package = mkType "a package" (value: isAttrs value && value ? outPath || isPath value) equal;
    lines = mkType "text" isString (_: concatStringsSep "\n");
    port = mkType "a port number from 0 to 65535" (v: isInt v && v >= 0 && v <= 65535) equal;
    unspecified = mkType "anything" (_: true) equal;
    enum = values:
      mkType "one of ${concatStringsSep ", " (map showValue values)}" (v: elem v values) equal;
    strMatching = pattern:
      mkType "a string matching ${pattern}" (v: isString v && match pattern v != null) equal;
    ints.positive = mkType "a positive integer" (v: isInt v && v > 0) equal;
    ints.unsigned = mkType "an integer from 0 upwards" (v: isInt v && v >= 0) equal;
    nullOr = type: mkType "null or ${type.description}" (v: v == null || type.check v)
      (location: values:
        if all (value: value == null) values then null
        else type.merge location (filter (value: value != null) values));
    either = a: b: mkType "${a.description} or ${b.description}" (v: a.check v || b.check v)
      (location: values: (if all a.check values then a else b).merge location values);
    listOf = type: mkType "a list" isList (location: values: concatLists (map (list:
      genList (index: mergeDefinitions type
        (location ++ [ (toString index) ]) [ (elemAt list index) ]) (length list)) values));
    attrsOf = type: mkType "an attribute set" isAttrs (mergeAttributes type);
    submodule = modules: mkType "an attribute set" (v: isAttrs v || isFunction v)
      (location: values: (evalModules {
        modules = (if isList modules then modules else [ modules ])
          ++ map (value: if isFunction value then value else { config = value; }) values;
        specialArgs.name = elemAt location (length location - 1);
        prefix = location;
      }).config);
  };

  mergeDefinitions = type: location: definitions:
    let
      values = strongest definitions;
      wrong = filter (value: !type.check value) values;
    in
    if values == [ ] then throw "option ${showOption location} has no value and no default"
    else if wrong != [ ] then
      throw "option ${showOption location}: ${showValue (head wrong)} is not ${type.description}"
    else type.merge location values;

  # --- modules ---------------------------------------------------------------------------------
  # Loads modules with all that they import and evaluates their options: { config }.
  evalModules = { modules, specialArgs ? { }, prefix ? [ ] }:
    let
      arguments = { inherit lib config; } // specialArgs;
      load = module:
        let
          code = if isPath module || isString module then import module else module;
          value = if isFunction code then code arguments else code;
          explicit = value ? config || value ? options;
          own = if explicit then value.config or { }
            else removeAttrs value [ "imports" "_file" "key" "_class" "meta" ];
        in [ { options = value.options or { }; config = own; } ]
          ++ concatMap load (value.imports or [ ]);
      loaded = concatMap load modules;
      config = evalTree prefix (map (m: m.options) loaded) (map (m: m.config) loaded);
    in { inherit config; };

  evalTree = location: declarations: definitions:
    let
      sets = concatMap pushDown definitions;
      names = unique (concatMap attrNames declarations);
      unknown = filter (name: !elem name names) (concatMap attrNames sets);
      evalOne = name:
        let
          here = location ++ [ name ];
          declared = select name declarations;
          given = select name sets;
          option = head declared;
          fallback = if option ? default then [ (mkOverride 1500 option.default) ] else [ ];
          value = mergeDefinitions (option.type or types.unspecified) here (given ++ fallback);
        in
        if !tagged "option" option then evalTree here declared given
        else if length declared > 1 then throw "option ${showOption here} is declared twice"
        else (option.apply or (x: x)) value;
    in
    if unknown != [ ] then
      throw "option ${showOption (location ++ [ (head unknown) ])} does not exist; here are: ${
        concatStringsSep ", " names}"
    else listToAttrs (map (name: { inherit name; value = evalOne name; }) names);

  lib = {
    inherit types mkIf mkMerge mkOverride evalModules concatStringsSep mapAttrs;
    mkOption = attributes: attributes // { _type = "option"; };
    mkEnableOption = name: {
      _type = "option";
      type = types.bool;
      default = false;
      description = "Whether to enable ${name}.";
    };
    mkDefault = mkOverride 1000;
    mkForce = mkOverride 50;
    filterAttrs = keep: set:
      removeAttrs set (filter (name: !keep name set.${name}) (attrNames set));
    mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
  };
in
lib
