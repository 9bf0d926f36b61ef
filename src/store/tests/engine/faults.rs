//! What a cache may do wrong, one test each: a clear error of its own, nothing registered, nothing
//! left behind, and once it is right, it works at once.

use super::fixture::{Cache, Fixture, Host, large, named, options, release};
use qemu_tests::cache::{Fault, Server};
use std::fs;
use std::io::Read;
use store::fetch::Caches;
use store::hash::Sha256;
use store::narinfo::Compression;
use store::signature::{SecretKey, Signature};
use store::{Error, Fault as StoreFault, Step, StorePath};

/// A cache with one path spoiled.
struct Scene {
    fixture: Fixture,
    cache: Cache,
    server: Server,
    host: Host,
    caches: Caches,
    /// What the host had before: the first release.
    before: usize,
}

impl Scene {
    /// A host that runs the first release, and a cache that has the second, in this compression.
    async fn new(compression: &str) -> Self {
        let fixture = Fixture::get();
        let cache = fixture.cache(compression);
        let server = Server::start(cache.path()).unwrap();
        let host = Host::new();
        let caches = fixture.caches(&[server.url()]);
        host.fetch(&caches, &release("v1")).await.unwrap();
        host.store.add_root("web", &release("v1")).unwrap();
        let before = host.names().len();
        Self { fixture, cache, server, host, caches, before }
    }

    /// Fetching the second release is refused, and all is as it was: the old one is whole, nothing
    /// is registered or left. Then `heal` makes it right, and it is fetched at once.
    async fn refused(self, heal: impl FnOnce(&Self)) -> Error {
        let error = self.refuse().await;
        self.host.verify();
        heal(&self);
        self.host.fetch(&self.caches, &release("v2")).await.unwrap();
        self.host.verify();
        error
    }

    async fn refuse(&self) -> Error {
        let top = release("v2");
        let error = self.host.fetch(&self.caches, &top).await.unwrap_err();
        assert_eq!(self.host.names().len(), self.before, "{:?}", self.host.names());
        for path in [&top, &own()] {
            assert!(!self.host.store.is_valid(path).unwrap(), "{path}");
        }
        let said = error.to_string();
        assert!(said.starts_with(error.step.word()) && said.contains(&error.object), "{said}");
        assert!(said.ends_with(error.cure()) && !error.cure().is_empty(), "{said}");
        error
    }

    fn restore(&self, compression: &str) {
        let whole = self.fixture.cache(compression);
        for path in [own(), release("v2")] {
            fs::copy(whole.narinfo_file(&path), self.cache.narinfo_file(&path)).unwrap();
            fs::copy(whole.nar_file(&path), self.cache.nar_file(&path)).unwrap();
        }
    }
}

/// The second release's own library: what is spoiled in most tests.
fn own() -> StorePath {
    named("own-v2")
}

fn stranger() -> SecretKey {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let arguments = ["--generate-binary-cache-key", "test-1", &file("s"), &file("p")];
    let made = super::fixture::run(folder.path(), "nix-store", &arguments, "");
    assert!(made.0, "{}", made.1);
    SecretKey::parse(&fs::read_to_string(file("s")).unwrap()).unwrap()
}

#[tokio::test]
async fn unsigned() {
    let scene = Scene::new("zstd").await;
    scene.cache.change(&own(), |narinfo| narinfo.signatures.clear());
    let error = scene.refused(|scene| scene.restore("zstd")).await;
    assert!(matches!(error.fault, StoreFault::Unsigned), "{error}");
    assert_eq!((error.step, error.object), (Step::Plan, own().to_string()));
}

#[tokio::test]
async fn signed_by_a_key_that_is_not_trusted() {
    let scene = Scene::new("zstd").await;
    scene.cache.change(&own(), |narinfo| {
        let text = narinfo.signatures[0].to_string().replacen("test-1:", "other-1:", 1);
        narinfo.signatures = vec![Signature::parse(text.as_bytes()).unwrap()];
    });
    let error = scene.refused(|scene| scene.restore("zstd")).await;
    let StoreFault::UntrustedKey { signers } = &error.fault else { panic!("{error}") };
    assert!(signers.contains("other-1"), "{error}");
}

#[tokio::test]
async fn signed_by_another_key_in_a_trusted_name() {
    let scene = Scene::new("zstd").await;
    scene.cache.change_signed(&stranger(), &own(), |_| {});
    let error = scene.refused(|scene| scene.restore("zstd")).await;
    assert!(matches!(&error.fault, StoreFault::FalseSignature { key } if key == "test-1"));
}

/// References are signed too: nobody on the way can add one, or hide one.
#[tokio::test]
async fn a_narinfo_altered_after_it_was_signed() {
    let scene = Scene::new("zstd").await;
    scene.cache.change(&release("v2"), |narinfo| {
        narinfo.references.remove(&own());
    });
    let error = scene.refused(|scene| scene.restore("zstd")).await;
    assert!(matches!(error.fault, StoreFault::FalseSignature { .. }), "{error}");
}

#[tokio::test]
async fn a_narinfo_of_another_path() {
    let scene = Scene::new("zstd").await;
    let (from, to) = (scene.cache.narinfo_file(&large()), scene.cache.narinfo_file(&own()));
    fs::copy(from, to).unwrap();
    let whole = scene.fixture.cache("zstd");
    let error = scene
        .refused(|scene| {
            fs::copy(whole.narinfo_file(&own()), scene.cache.narinfo_file(&own())).unwrap();
        })
        .await;
    assert!(matches!(error.fault, StoreFault::NarInfo(_)), "{error}");
}

/// One bit of the NAR is another one: all is unpacked, and nothing of it stays.
#[tokio::test]
async fn wrong_hash() {
    let scene = Scene::new("none").await;
    let url = scene.cache.narinfo(&own()).url;
    // A bit of a file's contents, not of the grammar.
    let at = fs::read(scene.cache.nar_file(&own())).unwrap();
    let at = at.windows(6).position(|bytes| bytes == b"own-v2").unwrap() as u64;
    scene.server.fail(&url, Fault::Flip(at));
    let error = scene.refused(|scene| scene.server.heal()).await;
    let StoreFault::WrongHash { expected, found } = error.fault else { panic!("{error}") };
    assert_ne!(expected, found);
}

/// The upload was cut: the cache serves what it has, and says so.
#[tokio::test]
async fn truncated() {
    for compression in ["none", "zstd", "xz"] {
        let scene = Scene::new(compression).await;
        let url = scene.cache.narinfo(&own()).url;
        let length = fs::metadata(scene.cache.nar_file(&own())).unwrap().len();
        scene.server.fail(&url, Fault::Short(length / 2));
        let error = scene.refused(|scene| scene.server.heal()).await;
        assert!(matches!(error.fault, StoreFault::Truncated { .. }), "{compression}: {error}");
    }
}

#[tokio::test]
async fn an_empty_file_instead_of_a_nar() {
    let scene = Scene::new("none").await;
    let url = scene.cache.narinfo(&own()).url;
    scene.server.fail(&url, Fault::Short(0));
    let error = scene.refused(|scene| scene.server.heal()).await;
    assert!(matches!(error.fault, StoreFault::Truncated { found: 0, .. }), "{error}");
}

#[tokio::test]
async fn compressed_bytes_that_are_something_else() {
    for compression in ["zstd", "xz"] {
        let scene = Scene::new(compression).await;
        let url = scene.cache.narinfo(&own()).url;
        scene.server.fail(&url, Fault::Replace(b"<html>not what was asked for</html>".to_vec()));
        let error = scene.refused(|scene| scene.server.heal()).await;
        assert!(matches!(error.fault, StoreFault::Damaged(_)), "{compression}: {error}");
    }
}

/// What xz itself checks, its integrity sums, is damaged; and so is what comes after its end.
#[tokio::test]
async fn xz_that_is_damaged() {
    let scene = Scene::new("xz").await;
    let url = scene.cache.narinfo(&own()).url;
    let whole = fs::read(scene.cache.nar_file(&own())).unwrap();
    scene.server.fail(&url, Fault::Flip(whole.len() as u64 / 2));
    let error = scene.refused(|scene| scene.server.heal()).await;
    assert!(matches!(error.fault, StoreFault::Damaged(_)), "{error}");

    let scene = Scene::new("xz").await;
    let longer = [&whole[..], b"and something else"].concat();
    fs::write(scene.cache.nar_file(&own()), longer).unwrap();
    let error = scene.refused(|scene| scene.restore("xz")).await;
    assert!(matches!(error.fault, StoreFault::Damaged(_)), "{error}");
}

#[tokio::test]
async fn a_dictionary_larger_than_is_admitted() {
    let scene = Scene::new("xz").await;
    let mut nar = Vec::new();
    let packed = fs::read(scene.cache.nar_file(&own())).unwrap();
    liblzma::read::XzDecoder::new(&packed[..]).read_to_end(&mut nar).unwrap();
    // Level 9 asks for 64 MiB, whatever is in it.
    let mut wide = Vec::new();
    liblzma::read::XzEncoder::new(&nar[..], 9).read_to_end(&mut wide).unwrap();
    fs::write(scene.cache.nar_file(&own()), wide).unwrap();
    let error = scene.refused(|scene| scene.restore("xz")).await;
    assert!(matches!(error.fault, StoreFault::Dictionary), "{error}");
}

/// Neither a path nor its NAR; a later upload works at once (which `refused` sees).
#[tokio::test]
async fn not_found() {
    let scene = Scene::new("zstd").await;
    fs::remove_file(scene.cache.narinfo_file(&own())).unwrap();
    let whole = scene.fixture.cache("zstd");
    let error = scene
        .refused(|scene| {
            fs::copy(whole.narinfo_file(&own()), scene.cache.narinfo_file(&own())).unwrap();
        })
        .await;
    assert!(matches!(error.fault, StoreFault::NotFound { caches: 1 }), "{error}");

    let scene = Scene::new("zstd").await;
    let url = scene.cache.narinfo(&own()).url;
    scene.server.fail(&url, Fault::Status(404));
    let error = scene.refused(|scene| scene.server.heal()).await;
    assert!(matches!(&error.fault, StoreFault::NarMissing { url: said } if said.ends_with(&url)));
    assert_eq!(error.step, Step::Fetch);
}

#[tokio::test]
async fn a_cache_that_forbids() {
    let scene = Scene::new("zstd").await;
    scene.server.fail(own().hash_part(), Fault::Status(403));
    let error = scene.refused(|scene| scene.server.heal()).await;
    assert!(matches!(error.fault, StoreFault::Status { status: 403, .. }), "{error}");
}

/// Said by name, before the first byte. Debian's Nix writes none such that is not read here.
#[tokio::test]
async fn a_compression_that_is_not_read_here() {
    let fixture = Fixture::get();
    let cache = fixture.cache("none");
    let narinfo = cache.narinfo_file(&release("v1"));
    let text = fs::read_to_string(&narinfo).unwrap();
    let bzip2 = text.replace("Compression: none", "Compression: bzip2");
    assert_ne!(bzip2, text);
    fs::write(&narinfo, bzip2).unwrap();
    let server = Server::start(cache.path()).unwrap();
    let host = Host::new();
    let error = host.fetch(&fixture.caches(&[server.url()]), &release("v1")).await.unwrap_err();
    assert!(matches!(&error.fault, StoreFault::Compression(name) if name == "bzip2"), "{error}");
    assert!(host.names().is_empty());
    assert_eq!(server.requests("nar/"), 0);
}

/// A NAR's strings.
fn spell(words: &[&[u8]]) -> Vec<u8> {
    let mut nar = Vec::new();
    for word in words {
        nar.extend_from_slice(&(word.len() as u64).to_le_bytes());
        nar.extend_from_slice(word);
        nar.resize(nar.len().next_multiple_of(8), 0);
    }
    nar
}

/// A directory with these entries, each a node's words.
fn directory(entries: &[(&[u8], &[&[u8]])]) -> Vec<u8> {
    let mut words: Vec<&[u8]> = vec![b"nix-archive-1", b"(", b"type", b"directory"];
    for (name, node) in entries {
        words.extend_from_slice(&[b"entry", b"(", b"name", name, b"node", b"("]);
        words.extend_from_slice(node);
        words.extend_from_slice(&[b")", b")"]);
    }
    words.push(b")");
    spell(&words)
}

/// Names that would lead out of the path, and a symlink with something "below" it. All are signed with
/// the right hash and size: what refuses them is the unpacker.
#[tokio::test]
async fn a_nar_that_escapes() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("victim").into_os_string().into_encoded_bytes();
    let file: &[&[u8]] = &[b"type", b"regular", b"contents", b"escaped"];
    let link: &[&[u8]] = &[b"type", b"symlink", b"target", &target];
    let folder: &[&[u8]] = &[
        b"type",
        b"directory",
        b"entry",
        b"(",
        b"name",
        b"x",
        b"node",
        b"(",
        b"type",
        b"regular",
        b"contents",
        b"escaped",
        b")",
        b")",
    ];
    let nars = [
        directory(&[(b"..", file)]),
        directory(&[(b"../victim", file)]),
        directory(&[(b"a/../../victim", file)]),
        directory(&[(&target, file)]),
        directory(&[(b"", file)]),
        directory(&[(b"a\0b", file)]),
        directory(&[(b"a", link), (b"a", file)]),
        directory(&[(b"a", link), (b"a", folder)]),
    ];
    let scene = Scene::new("none").await;
    for nar in nars {
        scene.cache.set_nar(&scene.fixture.secret_key, &own(), &nar, &nar);
        let shown = nar.escape_ascii().to_string();
        let error = scene.refuse().await;
        assert!(matches!(error.fault, StoreFault::Nar(_)), "{shown}: {error}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{shown}");
    }
    scene.restore("none");
    scene.host.fetch(&scene.caches, &release("v2")).await.unwrap();
    scene.host.verify();
}

/// A few kilobytes that become a quarter of a gigabyte. What is signed is the size of the true NAR: the unpacker
/// stops there.
#[tokio::test]
async fn a_compression_bomb() {
    let scene = Scene::new("zstd").await;
    let mut bomb = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    // It begins as the true NAR does, so that it is not refused for its first word.
    let nar =
        zstd::stream::decode_all(&fs::read(scene.cache.nar_file(&own())).unwrap()[..]).unwrap();
    std::io::Write::write_all(&mut bomb, &nar).unwrap();
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 256 << 20), &mut bomb).unwrap();
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    fs::write(scene.cache.nar_file(&own()), bomb).unwrap();
    let error = scene.refused(|scene| scene.restore("zstd")).await;
    assert!(
        matches!(error.fault, StoreFault::TooLarge { expected } if expected == nar.len() as u64)
    );
}

/// The other way round: a small NAR in a body that does not end, of frames that carry nothing.
#[tokio::test]
async fn a_body_larger_than_its_nar_could_need() {
    let scene = Scene::new("zstd").await;
    let mut body = Vec::new();
    let skippable = [&0x184D_2A50_u32.to_le_bytes()[..], &(65_536_u32).to_le_bytes()].concat();
    while body.len() < 3 << 20 {
        body.extend_from_slice(&skippable);
        body.resize(body.len() + 65_536, 0);
    }
    body.extend_from_slice(&fs::read(scene.cache.nar_file(&own())).unwrap());
    fs::write(scene.cache.nar_file(&own()), body).unwrap();
    let error = scene.refused(|scene| scene.restore("zstd")).await;
    assert!(matches!(error.fault, StoreFault::TooManyBytes { .. }), "{error}");
}

#[tokio::test]
async fn a_window_larger_than_is_admitted() {
    let scene = Scene::new("zstd").await;
    let nar =
        zstd::stream::decode_all(&fs::read(scene.cache.nar_file(&own())).unwrap()[..]).unwrap();
    let pack = |window: u32| {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(window).unwrap();
        std::io::Write::write_all(&mut encoder, &nar).unwrap();
        encoder.finish().unwrap()
    };
    fs::write(scene.cache.nar_file(&own()), pack(26)).unwrap();
    let error = scene.refused(|scene| scene.restore("zstd")).await;
    let StoreFault::Window { asked_bytes, limit_bytes } = error.fault else { panic!("{error}") };
    assert_eq!((asked_bytes, limit_bytes), (64 << 20, options().window_bytes_max));

    // A first frame that is modest does not let a second one in that is not.
    let scene = Scene::new("zstd").await;
    let two = [pack(11), pack(23)].concat();
    let twice = [&nar[..], &nar[..]].concat();
    scene.cache.set_nar(&scene.fixture.secret_key, &own(), &twice, &two);
    let error = scene.refused(|scene| scene.restore("zstd")).await;
    let refused = matches!(error.fault, StoreFault::Damaged(_) | StoreFault::TooLarge { .. });
    assert!(refused || matches!(error.fault, StoreFault::Nar(_)), "{error}");
}

/// NarSize is signed and counted; FileSize is not and is not. Said before the first byte.
#[tokio::test]
async fn too_little_space() {
    let scene = Scene::new("zstd").await;
    scene.cache.change_signed(&scene.fixture.secret_key, &own(), |narinfo| {
        narinfo.nar_size = 1 << 39;
        narinfo.file_size = Some(1);
    });
    let asked = scene.server.requests(&scene.cache.narinfo(&own()).url);
    let url = scene.cache.narinfo(&own()).url;
    let error = scene
        .refused(|scene| {
            assert_eq!(scene.server.requests(&url), asked, "before the first byte");
            scene.restore("zstd");
        })
        .await;
    let StoreFault::Space { needed_bytes, free_bytes } = error.fault else { panic!("{error}") };
    assert!(needed_bytes > 1 << 39 && free_bytes < needed_bytes);
    assert_eq!(error.step, Step::Plan);
}

/// Nix makes none; who can sign could.
#[tokio::test]
async fn paths_that_refer_to_each_other() {
    let scene = Scene::new("zstd").await;
    scene.cache.change_signed(&scene.fixture.secret_key, &own(), |narinfo| {
        narinfo.references.insert(release("v2"));
    });
    let error = scene.refused(|scene| scene.restore("zstd")).await;
    assert!(matches!(error.fault, StoreFault::Cycle(_)), "{error}");
}

/// The unsigned words of a narinfo cannot hurt: a false FileHash or FileSize changes nothing, a
/// false Compression or URL finds something with another hash.
#[tokio::test]
async fn what_is_unsigned_is_not_trusted() {
    let scene = Scene::new("zstd").await;
    scene.cache.change(&own(), |narinfo| {
        narinfo.file_hash = Some(Sha256::of(b"something else"));
        narinfo.file_size = Some(7);
    });
    let other = scene.cache.narinfo(&release("v2")).url;
    scene.host.fetch(&scene.caches, &own()).await.unwrap();
    scene.cache.change(&release("v2"), |narinfo| narinfo.compression = Compression::None);
    let error = scene.host.fetch(&scene.caches, &release("v2")).await.unwrap_err();
    assert!(matches!(error.fault, StoreFault::Nar(_)), "{error}");
    scene.restore("zstd");
    let large = scene.cache.narinfo(&large()).url;
    assert_ne!(large, other);
    scene.cache.change(&release("v2"), |narinfo| narinfo.url = large);
    let error = scene.host.fetch(&scene.caches, &release("v2")).await.unwrap_err();
    let refused =
        matches!(error.fault, StoreFault::TooManyBytes { .. } | StoreFault::TooLarge { .. });
    assert!(refused, "{error}");
    scene.host.verify();
}
