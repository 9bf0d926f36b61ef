//! Narinfos: Nix's own, and all the ways in which one can be wrong.
#![allow(missing_docs, clippy::unwrap_used)]

mod reference;

use proptest::prelude::*;
use reference::{Reference, dump};
use std::collections::BTreeSet;
use std::fmt::Write;
use store::narinfo::{
    Compression, LineFault, NARINFO_BYTES_MAX, NarInfo, NarInfoError, SIGNATURES_MAX, URL_BYTES_MAX,
};
use store::path::StorePath;
use store::signature::{Signature, SignatureError, TrustedKeys};

const WEB: &str = include_str!("golden/web.narinfo");
const GREETING: &str = include_str!("golden/greeting.narinfo");
const KEY: &str = include_str!("golden/cache.public-key");
const WEB_PATH: &str = "/nix/store/2c9p07z77phvv2hf6gm9f28syp39f1ag-web-1.9.3";
const GREETING_PATH: &str = "/nix/store/1b9p07z77phvv2hf6gm9f28syp39f1ag-greeting-1.0";

fn parse(text: &str) -> Result<NarInfo, NarInfoError> {
    NarInfo::parse(text.as_bytes(), &WEB_PATH.parse().unwrap())
}

/// The fault of `text`, which must have one in the given line.
fn fault(text: &str, at: usize) -> LineFault {
    match parse(text) {
        Err(NarInfoError::Line { line, fault, .. }) => {
            assert_eq!(line, at, "{fault}");
            fault
        }
        other => panic!("{other:?}"),
    }
}

/// WEB with the value of one key replaced.
fn with(key: &str, value: &str) -> String {
    let mut text = String::new();
    for line in WEB.lines() {
        match line.split_once(": ").unwrap() {
            (found, _) if found == key => writeln!(text, "{key}: {value}").unwrap(),
            _ => writeln!(text, "{line}").unwrap(),
        }
    }
    assert_ne!(text, WEB, "{key} was there");
    text
}

/// WEB without one key.
fn without(key: &str) -> String {
    WEB.split_inclusive('\n').filter(|line| !line.starts_with(&format!("{key}:"))).collect()
}

/// Written by Nix 2.8's `nix copy`, signed with a key of `nix-store --generate-binary-cache-key`.
#[test]
fn the_golden_narinfos() {
    let keys = TrustedKeys::parse([KEY]).unwrap();
    let web = parse(WEB).unwrap();
    assert_eq!(web.url, "nar/133idm9m7ydxidwg22in72f29mz3njafmn6s6f6z8bm30xfw8djk.nar");
    assert_eq!(web.compression, Compression::None);
    assert_eq!((web.nar_size, web.file_size), (800, Some(800)));
    assert_eq!(web.file_hash, Some(web.nar_hash));
    let references: Vec<String> = web.references.iter().map(ToString::to_string).collect();
    assert_eq!(references, [GREETING_PATH, WEB_PATH]);
    let deriver = web.deriver.as_ref().unwrap();
    assert_eq!(deriver.base_name(), "3d9p07z77phvv2hf6gm9f28syp39f1ag-web-1.9.3.drv");
    assert_eq!(
        web.fingerprint(),
        format!(
            "1;{WEB_PATH};sha256:133idm9m7ydxidwg22in72f29mz3njafmn6s6f6z8bm30xfw8djk;800;\
             {GREETING_PATH},{WEB_PATH}"
        )
    );
    assert_eq!(web.verify(&keys), Ok("cache.example.org-1"));
    assert_eq!(web.to_string(), WEB, "we write it as Nix does");

    let asked: StorePath = GREETING_PATH.parse().unwrap();
    let greeting = NarInfo::parse(GREETING.as_bytes(), &asked).unwrap();
    assert!(greeting.references.is_empty() && greeting.deriver.is_none());
    assert_eq!(greeting.verify(&keys), Ok("cache.example.org-1"));
    assert_eq!(greeting.to_string(), GREETING);
    let nar = include_bytes!("golden/web.nar");
    assert_eq!(store::hash::Sha256::of(nar), web.nar_hash);
}

/// The same with a Nix, a key and a tree of this moment: what `nix copy` writes we read, and its
/// signature is over our fingerprint.
#[test]
fn what_nix_copies_is_trusted() {
    let nix = Reference::new();
    let tree = nix.store().join(&WEB_PATH["/nix/store/".len()..]);
    std::fs::create_dir_all(tree.join("bin")).unwrap();
    std::fs::write(tree.join("bin/serve"), "echo\n").unwrap();
    let parent = sys::tree::open_path(&nix.store()).unwrap();
    let (_, dumped) = dump(&parent, tree.file_name().unwrap().to_str().unwrap());
    let registration =
        format!("{WEB_PATH}\n{}\n{}\n\n1\n{WEB_PATH}\n", dumped.hash.hex(), dumped.size);
    let file = nix.path().join("registration");
    std::fs::write(&file, registration).unwrap();
    let input = std::fs::File::open(&file).unwrap();
    assert!(nix.command("nix-store").arg("--load-db").stdin(input).status().unwrap().success());
    nix.run_text("nix-store", &["--generate-binary-cache-key", "live-1", "secret", "public"]);
    let (cache, secret) = (nix.path().join("cache"), nix.path().join("secret"));
    for compression in ["none", "zstd", "xz"] {
        let to = format!(
            "file://{}?compression={compression}&secret-key={}",
            cache.display(),
            secret.display()
        );
        nix.run_text("nix", &["copy", "--to", &to, WEB_PATH]);
        let file = cache.join("2c9p07z77phvv2hf6gm9f28syp39f1ag.narinfo");
        let text = std::fs::read(&file).unwrap();
        let info = NarInfo::parse(&text, &WEB_PATH.parse().unwrap()).unwrap();
        assert_eq!(info.compression.to_string(), compression);
        assert_eq!((info.nar_hash, info.nar_size), (dumped.hash, dumped.size));
        let public = std::fs::read_to_string(nix.path().join("public")).unwrap();
        assert_eq!(info.verify(&TrustedKeys::parse([public.as_str()]).unwrap()), Ok("live-1"));
        assert_eq!(info.to_string().as_bytes(), text);
        std::fs::remove_dir_all(&cache).unwrap();
    }
}

/// Each signed word counts: altered, the signature of the trusted key is wrong. Each unsigned one
/// does not.
#[test]
fn only_what_is_signed_is_sworn_to() {
    let keys = TrustedKeys::parse([KEY]).unwrap();
    let greeting = "1b9p07z77phvv2hf6gm9f28syp39f1ag-greeting-1.0";
    for (key, value) in [
        ("NarHash", "sha256:0p76qkl52wddmbnazj0js3vgcs479wdkm37j2iap6iva2hd9kpdn"),
        ("NarSize", "801"),
        ("References", greeting),
        ("References", ""),
    ] {
        let error = parse(&with(key, value)).unwrap().verify(&keys).unwrap_err();
        assert_eq!(error, SignatureError::Wrong("cache.example.org-1".to_owned()), "{key}");
    }
    for (key, value) in [
        ("URL", "nar/other.nar.zst"),
        ("Compression", "zstd"),
        ("FileSize", "1"),
        ("FileHash", "sha256:0p76qkl52wddmbnazj0js3vgcs479wdkm37j2iap6iva2hd9kpdn"),
        ("Deriver", greeting),
    ] {
        assert!(parse(&with(key, value)).unwrap().verify(&keys).is_ok(), "{key}");
    }
    let unsigned = parse(&without("Sig")).unwrap().verify(&keys).unwrap_err();
    assert_eq!(unsigned, SignatureError::Unsigned);
}

#[test]
fn a_line_must_be_a_line() {
    assert_eq!(fault(WEB.trim_end(), 10), LineFault::Shape, "no newline at the end");
    assert_eq!(fault(&WEB.replacen("URL: ", "URL ", 1), 2), LineFault::Shape);
    assert_eq!(fault(&WEB.replacen("URL: ", "URL:", 1), 2), LineFault::Shape);
    assert_eq!(fault(&format!("{WEB}\n"), 11), LineFault::Shape, "an empty line");
    assert!(parse(&WEB.replace('\n', "\r\n")).is_err());
    assert_eq!(fault("<html>\n", 1), LineFault::Shape);
    let unknown = format!("X-Later: words: and more\nurl: lower case is another key\n{WEB}");
    assert_eq!(parse(&unknown), parse(WEB), "unknown keys are skipped");
}

#[test]
fn keys_stand_once() {
    for line in WEB.split_inclusive('\n') {
        let key = line.split_once(':').unwrap().0;
        match key {
            "Sig" => assert_eq!(parse(&format!("{WEB}{line}")), parse(WEB)),
            _ => match fault(&format!("{WEB}{line}"), 11) {
                LineFault::Twice(found) => assert_eq!(found, key),
                other => panic!("{key}: {other:?}"),
            },
        }
    }
    let twice = format!("{WEB}CA: text:sha256:a\nCA: text:sha256:a\n");
    assert_eq!(fault(&twice, 12), LineFault::Twice("CA"));
    let twice =
        format!("{}Deriver: unknown-deriver\nDeriver: unknown-deriver\n", without("Deriver"));
    assert_eq!(fault(&twice, 11), LineFault::Twice("Deriver"));
}

#[test]
fn some_keys_must_be_there() {
    for key in ["StorePath", "URL", "NarHash", "NarSize"] {
        match parse(&without(key)) {
            Err(NarInfoError::Missing(_, found)) => assert_eq!(found, key),
            other => panic!("{key}: {other:?}"),
        }
    }
    let bare = parse(&without("Compression")).unwrap();
    assert_eq!(bare.compression, Compression::Bzip2, "as Nix has it");
    for key in ["FileHash", "FileSize", "References", "Deriver", "Sig"] {
        assert!(parse(&without(key)).is_ok(), "{key}");
    }
    assert!(matches!(parse(""), Err(NarInfoError::Missing(_, "StorePath"))));
}

/// A cache that answers with another path, validly signed: the classic way to roll a host back to
/// an old version with a hole.
#[test]
fn another_path_is_refused() {
    let answer = parse(GREETING);
    assert!(matches!(answer, Err(NarInfoError::OtherPath { .. })), "{answer:?}");
    let renamed = with("StorePath", "/nix/store/2c9p07z77phvv2hf6gm9f28syp39f1ag-web-1.9.2");
    assert!(matches!(parse(&renamed), Err(NarInfoError::OtherPath { .. })));
}

#[test]
fn numbers_are_digits_within_bounds() {
    for value in ["", "0", "-1", "+1", " 1", "1 ", "0x1", "1e3", "18446744073709551616"] {
        assert_eq!(fault(&with("NarSize", value), 7), LineFault::Number("NarSize"), "{value}");
    }
    let most = 1_u64 << 40;
    assert_eq!(parse(&with("NarSize", &most.to_string())).unwrap().nar_size, most);
    let more = (most + 1).to_string();
    assert_eq!(fault(&with("NarSize", &more), 7), LineFault::Number("NarSize"));
    assert_eq!(parse(&with("FileSize", "0")).unwrap().file_size, None, "not known");
}

#[test]
fn urls_stay_in_the_cache() {
    for url in [
        "",
        "/etc/passwd",
        "//host/nar",
        "http://host/nar",
        "../nar",
        "nar/../../x",
        "nar/..",
        "nar/%2e%2e/x",
        "nar/%2E./x",
        "nar//x",
        "./x",
        "nar/x#y",
        "nar\\x",
        "nar/a b",
        "nar/ä",
        "nar/x\t",
        "file:x",
        "nar/%2fx",
        "nar/\u{7f}",
    ] {
        let found = fault(&with("URL", url), 2);
        assert!(matches!(found, LineFault::Url(_)), "{url}: {found:?}");
    }
    let long = "x".repeat(URL_BYTES_MAX);
    assert!(parse(&with("URL", &long)).is_ok());
    assert!(matches!(fault(&with("URL", &format!("{long}x")), 2), LineFault::Url(_)));
    for url in ["nar/x.nar.zst", "x", "nar/..x", "nar/x?sig=../a:b/c", "a/b/c.d", "nar/%20x"] {
        assert_eq!(parse(&with("URL", url)).unwrap().url, url);
    }
}

#[test]
fn values_keep_to_their_rules() {
    for value in ["../x", "a/b", "1b9p07z77phvv2hf6gm9f28syp39f1ag-a 1b9p", GREETING_PATH] {
        let found = fault(&with("References", value), 8);
        assert!(matches!(found, LineFault::Path("References", _)), "{found:?}");
    }
    let found = fault(&with("StorePath", "/gnu/store/x"), 1);
    assert!(matches!(found, LineFault::Path("StorePath", _)));
    assert!(matches!(fault(&with("Deriver", "x"), 9), LineFault::Path("Deriver", _)));
    assert!(matches!(fault(&with("NarHash", "sha256:x"), 6), LineFault::Hash("NarHash", _)));
    assert!(matches!(fault(&with("FileHash", "md5:x"), 4), LineFault::Hash("FileHash", _)));
    assert_eq!(fault(&with("Compression", "a b"), 3), LineFault::Compression);
    let lzip = parse(&with("Compression", "lzip")).unwrap();
    assert_eq!(lzip.compression, Compression::Other("lzip".to_owned()));
    assert_eq!(fault(&format!("{WEB}CA: x\n"), 11), LineFault::ContentAddress);
    let address = "fixed:r:sha256:133idm9m7ydxidwg22in72f29mz3njafmn6s6f6z8bm30xfw8djk";
    let with_address = parse(&format!("{WEB}CA: {address}\n")).unwrap();
    assert_eq!(with_address.content_address.as_deref(), Some(address));
    assert_eq!(parse(&with("Deriver", "unknown-deriver")).unwrap().deriver, None);
    let garbage = parse(&with("Sig", "not a signature")).unwrap();
    assert!(garbage.signatures.is_empty(), "it proves nothing, another one may");
}

#[test]
fn a_narinfo_has_bounds() {
    let sigs = "Sig: x\n".repeat(SIGNATURES_MAX);
    assert_eq!(fault(&format!("{WEB}{sigs}"), 10 + SIGNATURES_MAX), LineFault::Signatures);
    let filler = |bytes: usize| format!("X: {}\n", "x".repeat(bytes - "X: \n".len()));
    let room = NARINFO_BYTES_MAX - WEB.len();
    assert!(parse(&format!("{WEB}{}", filler(room))).is_ok());
    let error = parse(&format!("{WEB}{}", filler(room + 1))).unwrap_err();
    assert!(matches!(error, NarInfoError::TooLong(_)));
}

fn store_path() -> impl Strategy<Value = StorePath> {
    ("[0-9a-df-np-sv-z]{32}", "[-+._?=0-9a-zA-Z]{1,20}")
        .prop_map(|(hash, name)| format!("{hash}-{name}"))
        .prop_map(|base| StorePath::from_base_name(base.as_bytes()).unwrap())
}

fn signature() -> impl Strategy<Value = Signature> {
    ("[!-9;-~]{1,20}", prop::collection::vec(any::<u8>(), 64)).prop_map(|(name, bytes)| {
        let text = format!("{name}:{}", store::base64::encode(&bytes));
        Signature::parse(text.as_bytes()).unwrap()
    })
}

prop_compose! {
    fn narinfo()(
        path in store_path(),
        url in "[a-z]{1,8}/[a-z0-9.]{0,8}[a-z0-9]",
        compression in prop::sample::select(vec!["none", "zstd", "xz", "bzip2", "br"]),
        file in any::<Option<([u8; 32], u32)>>(),
        hash: [u8; 32],
        nar_size in 1..=1_u64 << 40,
        references in prop::collection::btree_set(store_path(), 0..5),
        deriver in prop::option::of(store_path()),
        signatures in prop::collection::btree_set(signature(), 0..4),
        address in prop::option::of("text:[!-~]{0,60}"),
    ) -> NarInfo {
        NarInfo {
            path,
            url,
            compression: match compression {
                "none" => Compression::None,
                "zstd" => Compression::Zstd,
                "xz" => Compression::Xz,
                "bzip2" => Compression::Bzip2,
                other => Compression::Other(other.to_owned()),
            },
            file_hash: file.map(|(hash, _)| store::hash::Sha256::from_bytes(hash)),
            file_size: file.map(|(_, size)| u64::from(size)).filter(|size| *size != 0),
            nar_hash: store::hash::Sha256::from_bytes(hash),
            nar_size,
            references: references as BTreeSet<StorePath>,
            deriver,
            signatures: signatures.into_iter().collect(),
            content_address: address,
        }
    }
}

proptest! {
    /// What is written reads back, lines in any order.
    #[test]
    fn narinfos_read_back(info in narinfo(), turn in 0..10_usize) {
        let text = info.to_string();
        let again = NarInfo::parse(text.as_bytes(), &info.path);
        prop_assert_eq!(again.as_ref(), Ok(&info));
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        let turn = turn % lines.len();
        lines.rotate_left(turn);
        let turned = NarInfo::parse(lines.concat().as_bytes(), &info.path).unwrap();
        prop_assert_eq!(turned.fingerprint(), info.fingerprint());
    }

    /// No bytes make it panic; whatever was altered, the answer is about the path that was asked
    /// for, and its URL stays in the cache.
    #[test]
    fn reading_is_total(at in 0..WEB.len(), byte: u8, cut in 0..WEB.len(), noise: Vec<u8>) {
        let asked = WEB_PATH.parse().unwrap();
        let mut text = WEB.as_bytes().to_vec();
        text[at] = byte;
        for text in [&text[..], &WEB.as_bytes()[..cut], &noise] {
            if let Ok(info) = NarInfo::parse(text, &asked) {
                prop_assert_eq!(&info.path, &asked);
                prop_assert!(!info.url.starts_with('/'));
                prop_assert_eq!(NarInfo::parse(info.to_string().as_bytes(), &asked), Ok(info));
            }
        }
    }
}
