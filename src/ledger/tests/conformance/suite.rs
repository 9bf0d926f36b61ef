//! What every engine owes, whoever it is.

use ledger::Engine;
use rollout::{Cas, Ledger, Token};
use std::collections::BTreeSet;

/// Clients that want the same entry at once.
const RACERS: usize = 12;

/// Who enters names into one entry, and how many each.
const WRITERS: usize = 8;
const NAMES: usize = 6;

pub async fn applied(engine: &Engine, key: &str, expected: Option<&Token>, value: &[u8]) -> Token {
    match engine.cas(key, expected, value).await.unwrap() {
        Cas::Applied(token) => token,
        other => panic!("{key}: {other:?}"),
    }
}

/// One entry from its first write on.
async fn entries(engine: &Engine) {
    let key = "groups/prod/web";
    assert_eq!(engine.get(key).await.unwrap(), None);
    let first = applied(engine, key, None, b"one").await;
    assert_eq!(engine.cas(key, None, b"two").await.unwrap(), Cas::Lost, "it is there already");
    let entry = engine.get(key).await.unwrap().unwrap();
    assert_eq!((entry.value.as_slice(), &entry.token), (&b"one"[..], &first));
    let second = applied(engine, key, Some(&first), b"two").await;
    assert_ne!(first, second);
    assert_eq!(engine.cas(key, Some(&first), b"three").await.unwrap(), Cas::Lost, "it is newer");
    // The same bytes again are a write like others: who read before must lose.
    let third = applied(engine, key, Some(&second), b"two").await;
    assert_eq!(engine.cas(key, Some(&second), b"three").await.unwrap(), Cas::Lost);
    assert_eq!(engine.get(key).await.unwrap().unwrap().token, third);
    let none = engine.cas("groups/prod/none", Some(&third), b"x").await.unwrap();
    assert_eq!(none, Cas::Lost, "there is no entry to have that version");
    assert_eq!(engine.get("groups/prod/none").await.unwrap(), None);
}

/// What is removed is gone, and whoever knew it loses against what is made anew.
async fn removals(engine: &Engine) {
    let key = "hosts/gone/i-0";
    let first = applied(engine, key, None, b"one").await;
    let second = applied(engine, key, Some(&first), b"two").await;
    assert_eq!(engine.remove(key, &first).await.unwrap(), Cas::Lost, "it is newer");
    assert_eq!(engine.get(key).await.unwrap().unwrap().token, second);
    assert_eq!(engine.list("hosts/gone/").await.unwrap().len(), 1);
    assert_eq!(engine.remove(key, &second).await.unwrap(), Cas::Applied(second.clone()));
    assert_eq!(engine.get(key).await.unwrap(), None);
    assert_eq!(engine.list("hosts/gone/").await.unwrap(), []);
    assert_eq!(engine.remove(key, &second).await.unwrap(), Cas::Lost, "there is none");
    assert_eq!(engine.remove("hosts/nobody/x", &second).await.unwrap(), Cas::Lost);
    assert_eq!(engine.cas(key, Some(&second), b"x").await.unwrap(), Cas::Lost);
    let again = applied(engine, key, None, b"one").await;
    for old in [&first, &second] {
        assert_ne!(old, &again);
        assert_eq!(engine.cas(key, Some(old), b"x").await.unwrap(), Cas::Lost);
        assert_eq!(engine.remove(key, old).await.unwrap(), Cas::Lost);
    }
    assert!(engine.remove("a//b", &again).await.is_err());
}

async fn values(engine: &Engine) {
    let large = vec![0x2F_u8; 300 * 1024];
    for (name, value) in [("empty", &b""[..]), ("bytes", &[0, 10, 255, 0][..]), ("large", &large)] {
        let key = format!("values/{name}");
        applied(engine, &key, None, value).await;
        assert_eq!(engine.get(&key).await.unwrap().unwrap().value, value, "{name}");
    }
    let huge = vec![0_u8; 500 * 1024];
    let error = engine.cas("values/huge", None, &huge).await.unwrap_err().to_string();
    assert!(error.contains("write values/huge") && error.contains("is the most"), "{error}");
    for key in ["", "/", "a/", "/a", "a//b", "..", "a/../b", "a b", "a\0", "ä", &"a".repeat(600)] {
        assert!(engine.get(key).await.is_err(), "{key:?}");
        assert!(engine.cas(key, None, b"").await.is_err(), "{key:?}");
    }
}

async fn listings(engine: &Engine) {
    for key in ["hosts/web/b", "hosts/web/a", "hosts/web/a.b", "hosts/web2/c", "hosts/web/d/e"] {
        applied(engine, key, None, key.as_bytes()).await;
    }
    let listed = engine.list("hosts/web/").await.unwrap();
    let keys: Vec<&str> = listed.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["hosts/web/a", "hosts/web/a.b", "hosts/web/b", "hosts/web/d/e"]);
    for (key, entry) in &listed {
        assert_eq!(engine.get(key).await.unwrap().as_ref(), Some(entry));
    }
    // Again, after one of them changed: also an engine that keeps in mind what it read tells it.
    let (key, before) = listed[1].clone();
    let token = applied(engine, &key, Some(&before.token), b"changed").await;
    let again = engine.list("hosts/web/").await.unwrap();
    assert_eq!((again[1].1.value.as_slice(), &again[1].1.token), (&b"changed"[..], &token));
    assert_eq!((&again[0], &again[2..]), (&listed[0], &listed[2..]));
    assert_eq!(engine.list("nobody/").await.unwrap(), []);
    assert!(engine.list("hosts/web").await.is_err(), "a folder ends in a slash");
}

/// Many want the first write, and each next one: each time one gets it.
async fn races(engine: &Engine) {
    let mut expected = None;
    for round in 0..5 {
        let racers: Vec<_> = (0..RACERS)
            .map(|racer| {
                let (engine, expected) = (engine.clone(), expected.clone());
                tokio::spawn(async move {
                    let value = format!("{round} {racer}");
                    engine.cas("races/one", expected.as_ref(), value.as_bytes()).await.unwrap()
                })
            })
            .collect();
        let mut won = Vec::new();
        for racer in racers {
            match racer.await.unwrap() {
                Cas::Applied(token) => won.push(token),
                Cas::Lost => {}
                Cas::Unknown(reason) => panic!("{reason}"),
            }
        }
        assert_eq!(won.len(), 1, "round {round}");
        expected = won.pop();
        assert_eq!(engine.get("races/one").await.unwrap().map(|entry| entry.token), expected);
    }
}

/// Puts a name into the list that an entry is, whatever the engine's answers come to.
pub async fn enter(engine: &Engine, key: &str, name: &str) {
    loop {
        let Ok(entry) = engine.get(key).await else { continue };
        let (value, token) = entry.map_or((Vec::new(), None), |e| (e.value, Some(e.token)));
        let mut text = String::from_utf8(value).unwrap();
        if text.lines().any(|line| line == name) {
            return;
        }
        text.push_str(name);
        text.push('\n');
        // Whatever it was, the next look tells: that is all there is to an unknown end.
        let _ = engine.cas(key, token.as_ref(), text.as_bytes()).await;
    }
}

/// Names are entered by many at once; none is lost, none is there twice.
pub async fn lists(engines: &[Engine], key: &'static str) {
    lists_of(NAMES, engines, key).await;
}

/// The same, with so many names of each writer.
pub async fn lists_of(names: usize, engines: &[Engine], key: &'static str) {
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let engine = engines[writer % engines.len()].clone();
            tokio::spawn(async move {
                for number in 0..names {
                    enter(&engine, key, &format!("{writer}-{number}")).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let entry = loop {
        if let Ok(Some(entry)) = engines[0].get(key).await {
            break entry;
        }
    };
    let text = String::from_utf8(entry.value).unwrap();
    let entered: BTreeSet<&str> = text.lines().collect();
    let all = WRITERS * names;
    assert_eq!((entered.len(), text.lines().count()), (all, all), "{text}");
}

pub async fn suite(engine: &Engine, key: &'static str) {
    entries(engine).await;
    removals(engine).await;
    values(engine).await;
    listings(engine).await;
    races(engine).await;
    lists(std::slice::from_ref(engine), key).await;
}
