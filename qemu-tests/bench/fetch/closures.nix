# Closures for measuring fetches: two releases, shaped like real ones, built without a network.
#
# The inputs are a static busybox and a corpus of real machine code and text, so that compression is
# honest. Sizes are skewed (a few large libraries, many small ones), the graph is deep as well as
# wide, and the second release differs in its newest libraries only.
{
  tools, # a folder with bin/busybox, static
  corpus, # one large file
  corpusKiB, # how much of it may be used
  paths, # library paths of a release
  totalKiB, # bytes over all of them
  changed, # libraries that differ in v2
  maxFiles ? 40, # files of a library: 1 to this
}:
let
  inherit (builtins) concatLists elem elemAt filter foldl' genList hashString listToAttrs;
  inherit (builtins) substring toString;
  digits = listToAttrs (genList (value: {
    name = substring value 1 "0123456789abcdef";
    inherit value;
  }) 16);
  remainder = a: b: a - b * (a / b);
  # A number below `bound` that depends on its purpose and index only.
  number = purpose: index: bound:
    let
      hash = hashString "sha256" "rollinit/${purpose}/${toString index}";
      digit = sum: at: sum * 16 + digits.${substring at 1 hash};
    in
    remainder (foldl' digit 0 (genList (at: at) 7)) bound;

  busybox = builtins.path { name = "busybox"; path = tools; };
  corpusFile = builtins.path { name = "corpus"; path = corpus; };
  build = name: variables: script:
    derivation ({
      inherit name;
      system = "x86_64-linux";
      builder = "${busybox}/bin/busybox";
      args = [ "sh" "-euc" script ];
      b = "${busybox}/bin/busybox";
    } // variables);

  indices = genList (index: index) paths;
  weight = index:
    let draw = number "weight" index 64; in
    if draw == 0 then 400 else if draw < 6 then 80 else if draw < 24 then 12 else 2;
  weights = foldl' (sum: index: sum + weight index) 0 indices;
  kib = index: let share = totalKiB * weight index / weights; in if share < 4 then 4 else share;

  # Only on lower numbers: some on neighbours, some on low ones that many need; all on 0, the "libc".
  dependencies = index:
    let
      near = k:
        let back = 1 + number "near${toString k}" index (2 + paths / 12); in
        if back > index then 0 else index - back;
      low = k:
        let
          a = number "low${toString k}" index index;
          b = number "lower${toString k}" index index;
        in
        if a < b then a else b;
      pick = k: if remainder k 2 == 0 then near k else low k;
      picked = genList pick (1 + number "count" index 6);
    in
    if index == 0 then [ ]
    else foldl' (all: one: if elem one all then all else all ++ [ one ]) [ 0 ] picked;

  needed = listToAttrs (map (index: { name = toString index; value = true; })
    (concatLists (map dependencies indices)));
  roots = filter (index: !(needed ? ${toString index})) indices;

  release = version:
    let
      library = index:
        let
          files = 1 + number "files" index maxFiles;
          each = let size = kib index / files; in if size < 1 then 1 else size;
          room = if corpusKiB > kib index then corpusKiB - kib index else 1;
        in
        build "lib${toString index}-1.${toString (number "version" index 20)}" {
          dependencies = map (elemAt libraries) (dependencies index);
          corpus = corpusFile;
          revision = if index >= paths - changed then version else "same";
        } ''
          $b mkdir -p $out/lib $out/bin $out/share
          n=0; while [ $n -lt ${toString files} ]; do
            $b dd if=$corpus of=$out/lib/part$n.so bs=1024 count=${toString each} \
              skip=$((${toString (number "offset" index room)} + n * ${toString each})) 2>/dev/null
            n=$((n + 1))
          done
          echo $revision > $out/share/revision
          echo $dependencies > $out/share/dependencies
          $b ln -s ../lib/part0.so $out/bin/tool
          $b chmod 555 $out/lib/part0.so
        '';
      libraries = genList library paths;
    in
    build "webapp-${version}" {
      roots = map (elemAt libraries) roots;
      inherit version;
    } ''
      $b mkdir -p $out/bin $out/share
      echo "$version $roots" > $out/share/version
      printf '#!%s sh\nexec %s httpd -f -p "$1" -h %s/share\n' $b $b $out > $out/bin/serve
      $b chmod 555 $out/bin/serve
    '';
in
{
  v1 = release "v1";
  v2 = release "v2";
}
