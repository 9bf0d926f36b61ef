//! The configuration as people write it, and as they get it wrong.

use super::*;
use std::collections::BTreeSet;

const KEY: &str = "cache:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn error(text: &str) -> String {
    Config::parse("agent.toml", text).expect_err("it is wrong").to_string()
}

/// All of it, and none of it.
#[test]
fn what_is_right_is_read() {
    let text = format!(
        "caches = [\"http://10.0.0.1:8080\", \"https://cache.example.org/web\"]\nkeys = [\"{KEY}\"]\n\
         [fetch]\nparallel-narinfos = 16\nparallel-nars = 4\nstall-timeout = \"30s\"\n\
         give-up-after = \"5m\"\n"
    );
    let config = Config::parse("agent.toml", &text).expect("right");
    assert_eq!(config.caches.len(), 2);
    assert_eq!(config.keys, [KEY]);
    assert_eq!(config.fetch.parallel_narinfos, Some(16));
    assert_eq!(config.fetch.give_up_after, Some(Duration::from_secs(300)));
    assert_eq!(Config::parse("agent.toml", "").expect("nothing"), Config::default());
    let missing = Path::new("/nowhere/agent.toml");
    assert_eq!(Config::load(missing).expect("it may be missing"), Config::default());
}

/// Each mistake is told with its place and what to write instead.
#[test]
fn mistakes_have_a_place_and_a_cure() {
    for (text, place, cure) in [
        ("caches = [\n  \"10.0.0.1:80\",\n]\n", "agent.toml:2:3: ", "https://HOST"),
        ("caches = [\"file:///cache\"]\n", "agent.toml:1:11: ", "http or https"),
        ("caches = [\"https://me:pw@host/\"]\n", "agent.toml:1:11: ", "password"),
        ("caches = [\"ftp://me:pw@host/\"]\n", "agent.toml:1:11: ", "http or https"),
        ("keys = [\"cache\"]\n", "agent.toml:1:9: ", "NAME:BASE64"),
        ("cashes = []\n", "agent.toml:1:1: ", "caches"),
        ("[fetch]\nparallel-nars = 0\n", "agent.toml:2:17: ", "1 to 256"),
        ("[fetch]\nstall-timeout = \"soon\"\n", "agent.toml:2:17: ", "\"5m\""),
        ("[fetch]\nstall-timeout = \"0s\"\n", "agent.toml:2:17: ", "more than nothing"),
        ("[fetch]\nstall-timeout = 30\n", "agent.toml:2:17: ", "string"),
        ("caches = [\n", "agent.toml:", "array"),
    ] {
        let said = error(text);
        assert!(said.starts_with(place), "{text:?}: {said}");
        assert!(said.contains(cure) && !said.contains("pw@"), "{text:?}: {said}");
    }
}

/// Lists have an end.
#[test]
fn lists_are_bounded() {
    let caches = vec!["\"http://host/\""; CACHES_MAX + 1].join(", ");
    assert!(error(&format!("caches = [{caches}]\n")).contains("more than 16 caches"));
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("agent.toml");
    std::fs::write(&path, vec![b'\n'; CONFIG_BYTES_MAX + 1]).expect("written");
    assert!(Config::load(&path).expect_err("too long").to_string().contains("longer than"));
}

/// Letters of several bytes count as one column.
#[test]
fn columns_are_letters() {
    assert_eq!(position("é = 1\nab", 2), (1, 2));
    assert_eq!(position("é = 1\nab", 8), (2, 2));
    assert_eq!(position("", 99), (1, 1));
}

/// Where user-data comes from must be known; a file or the metadata service will do.
#[test]
fn user_data_has_a_source() {
    let read = |text: &str| Config::parse("agent.toml", text);
    assert_eq!(read("").expect("none").user_data, None);
    let file = read("[user-data]\nfile = '/x'").expect("a file").user_data.expect("asked for");
    assert_eq!(file.file.as_deref(), Some(Path::new("/x")));
    assert!(read("[cloud]\n[user-data]").expect("metadata").user_data.is_some());
    assert_eq!(read("[user-data]\nenable = false").expect("off").user_data, None);
    for text in ["[user-data]", "[user-data]\nfile = 'x'"] {
        read(text).expect_err(text);
    }
}

/// Caches and keys of a further file come behind, each once; one that is not there adds nothing.
#[test]
fn a_further_file_adds_caches() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("caches.toml");
    let mut config = Config::parse("agent.toml", "caches = ['http://a']").expect("sound");
    config.extend(&path).expect("none");
    assert_eq!(config.caches, ["http://a"]);
    std::fs::write(&path, "caches = ['http://b', 'http://a']").expect("written");
    config.extend(&path).expect("sound");
    assert_eq!(config.caches, ["http://a", "http://b"]);
}

/// `[cloud]`: an empty one is enough, and each key is read.
#[test]
fn cloud_is_read() {
    let read = |text: &str| Config::parse("agent.toml", text).expect("right").cloud;
    assert_eq!(read(""), None);
    let empty = read("[cloud]\n").expect("there");
    assert_eq!((&empty.region, &empty.proxy), (&None, &::cloud::Proxy::Environment));
    assert_eq!(empty.notices, cloud::Notices::default());
    let whole = read(
        "[cloud]\nregion = \"eu-west-1\"\nendpoint = \"http://a:1/\"\nendpoints.s3 = \"http://b\"\n\
         dual-stack = true\nproxy = \"http://p:3128\"\nno-proxy = [\"b\", \"c\"]\n\
         metadata = \"http://m\"\n[cloud.notices]\nspot = \"tell\"\nrebalance = \"power-off\"\n\
         scale-in = \"tell\"\npoll = \"10s\"\n",
    )
    .expect("there");
    assert_eq!(whole.endpoints.url(::cloud::Service::S3, "r"), "http://b");
    assert_eq!(whole.endpoints.url(::cloud::Service::Ec2, "r"), "http://a:1");
    let except = "b,c".to_owned();
    assert_eq!(whole.proxy, ::cloud::Proxy::Through { url: "http://p:3128".to_owned(), except });
    assert_eq!(whole.notices.rebalance, cloud::Answer::PowerOff);
    assert_eq!(whole.notices.poll, Duration::from_secs(10));
}

#[test]
fn mistakes_in_cloud_have_a_place_and_a_cure() {
    for (line, place, cure) in [
        ("region = \"Frankfurt\"", "2:10", "eu-central-1"),
        ("endpoint = \"aws\"", "2:12", "https://HOST:PORT"),
        ("endpoint = \"ftp://aws\"", "2:12", "only http and https"),
        ("proxy = \"http://me:pw@p\"", "2:9", "password"),
        ("proxy = \"me:pw@p\"", "2:9", "http and https"),
        ("endpoints.lambda = \"http://a\"", "2:11", "one of s3, ec2, ssm, autoscaling, "),
        ("notices.poll = \"500ms\"", "2:16", "from 1s to 60s"),
        ("notices.spot = \"stop\"", "2:16", "power-off"),
        ("imds = true", "2:1", "metadata"),
    ] {
        let said = error(&format!("[cloud]\n{line}\n"));
        assert!(said.starts_with(&format!("agent.toml:{place}: ")), "{line}: {said}");
        assert!(said.contains(cure) && !said.contains("pw@"), "{line}: {said}");
    }
}

/// What Nix writes when every option is set (nixos/tests sees to that): all of it is read here, and
/// no key that is read here is without an option.
#[test]
fn nix_has_an_option_for_each_key() {
    let written = [
        include_str!("../../../../nixos/tests/agent.toml"),
        include_str!("../../../../nixos/tests/agent-files.toml"),
    ];
    let mut options: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for text in written {
        Config::parse("agent.toml", text).expect("it is read");
        keys_of("", &toml::from_str(text).expect("TOML"), &mut options);
    }
    let mut count = 0;
    for (section, options) in &options {
        let named = section.replace('*', "name");
        let header = if named.is_empty() { String::new() } else { format!("[{named}]\n") };
        let said = error(&format!("{header}nobodys-key = 1\n"));
        // A table whose names people choose has no keys of its own.
        let Some((_, known)) = said.split_once("`nobodys-key`, expected ") else { continue };
        for key in known.split('`').skip(1).step_by(2) {
            assert!(options.contains(key), "[{section}] {key}: nixos/modules has no option for it");
            count += 1;
        }
    }
    assert!(count > 60, "only {count} keys were asked about");
}

/// The keys of a table and of those in it; names that people choose are `*`.
fn keys_of(section: &str, table: &toml::Table, all: &mut BTreeMap<String, BTreeSet<String>>) {
    for (key, value) in table {
        all.entry(section.to_owned()).or_default().insert(key.clone());
        let Some(inner) = value.as_table() else { continue };
        let name = if matches!(section, "balancer" | "desired") { "*" } else { key };
        let dot = if section.is_empty() { "" } else { "." };
        keys_of(&format!("{section}{dot}{name}"), inner, all);
    }
}
