//! Persons of tests, each with keys.

use release::{Document, FORMAT, Policy, Signers, Time, closure_digest};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{LineEnding, PrivateKey};

pub const NOW: Time = Time(1_795_255_200);
pub const PATH: &str = "/nix/store/0c5mkq5pxkq1c8h2b4bm3c0qk2gsl5bg-storefront-1.9.3";

/// The key that follows from a seed.
pub fn key(seed: u8) -> PrivateKey {
    let pair = Ed25519Keypair::from_seed(&[seed; 32]);
    PrivateKey::new(KeypairData::Ed25519(pair), "test").expect("a key")
}

/// As a file.
pub fn key_file(seed: u8) -> String {
    key(seed).to_openssh(LineEnding::LF).expect("a file").to_string()
}

/// The line of an allowed signer.
pub fn line(person: &str, seed: u8) -> String {
    format!("{person} {}\n", key(seed).public_key().to_openssh().expect("a key"))
}

/// Alice has two keys (1, 2), bob (3) and carol (4) one each; two of them have to sign.
pub fn policy() -> Policy {
    let text = [line("alice", 1), line("alice", 2), line("bob", 3), line("carol", 4)].concat();
    Policy {
        app: "web".to_owned(),
        group: "prod".to_owned(),
        signers: Signers::read(&text).expect("signers"),
        threshold: 2,
    }
}

pub fn document(serial: u64) -> Document {
    Document {
        format: FORMAT,
        app: "web".to_owned(),
        group: "prod".to_owned(),
        serial,
        path: PATH.to_owned(),
        closure_sha256: closure_digest(["1;a"]),
        issued: Time(NOW.0 - 60),
        expires: Time(NOW.0 + 3_600),
        note: String::new(),
    }
}

/// The document with the signatures of the keys of these seeds.
pub fn signed(document: &Document, seeds: &[u8]) -> Vec<u8> {
    let mut bytes = document.write();
    for seed in seeds {
        let key = release::sign::Key::read(&key_file(*seed)).expect("a key");
        let signature = key.sign(&document.write()).expect("a signature");
        bytes.extend_from_slice(signature.as_bytes());
    }
    bytes
}
