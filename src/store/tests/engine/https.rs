//! A cache behind TLS: fetched from when its certificate's root is known, refused when it is not.

use super::fixture::{Fixture, Host, options, release};
use qemu_tests::cache::Server;
use std::path::Path;
use std::sync::Arc;
use store::fetch::Options;
use store::{Error, Fault as StoreFault};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What the child of a test is told by: which roots to trust is read once, from the environment.
const CHILD: &str = "ROLLINIT_TEST_HTTPS_CHILD";

/// A root and a certificate of `localhost` that it signed.
struct Identity {
    root_pem: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

fn identity() -> Identity {
    let root_key = rcgen::KeyPair::generate().unwrap();
    let mut root = rcgen::CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(root, root_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let own = own.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Identity { root_pem, chain: vec![own.der().clone()], key }
}

/// Ends TLS in front of `backend`; the port.
async fn terminate(identity: Identity, backend: String) -> u16 {
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(identity.chain, identity.key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, backend) = (acceptor.clone(), backend.clone());
            tokio::spawn(async move {
                // A client that does not trust us hangs up here.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut plain = TcpStream::connect(backend).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut plain).await;
            });
        }
    });
    port
}

/// Runs the test `name` of this file again as a child that trusts what is in `roots`.
fn with_roots(name: &str, roots: &Path) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("https::{name}"), "--nocapture"])
        .env("SSL_CERT_FILE", roots)
        .env(CHILD, roots)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
}

async fn fetch_from(identity: Identity, options: Options) -> (Host, Result<(), Error>) {
    let fixture = Fixture::get();
    let cache = fixture.cache("zstd");
    let server = Server::start(cache.path()).unwrap();
    let backend = server.url().trim_start_matches("http://").to_owned();
    let port = terminate(identity, backend).await;
    let address = format!("https://localhost:{port}");
    let (host, caches) = (Host::new(), fixture.caches_with(&[address], options));
    let fetched = host.fetch(&caches, &release("v1")).await.map(drop);
    (host, fetched)
}

#[tokio::test]
async fn a_cache_behind_tls() {
    let Some(roots) = std::env::var_os(CHILD) else {
        let folder = tempfile::tempdir().unwrap();
        let roots = folder.path().join("roots.pem");
        return with_roots("a_cache_behind_tls", &roots);
    };
    let identity = identity();
    std::fs::write(roots, &identity.root_pem).unwrap();
    let (host, fetched) = fetch_from(identity, options()).await;
    fetched.unwrap();
    host.verify();
}

#[tokio::test]
async fn a_cache_whose_root_nobody_knows() {
    let Some(roots) = std::env::var_os(CHILD) else {
        let folder = tempfile::tempdir().unwrap();
        let roots = folder.path().join("roots.pem");
        return with_roots("a_cache_whose_root_nobody_knows", &roots);
    };
    // Somebody else's root.
    std::fs::write(roots, identity().root_pem).unwrap();
    let give_up_after = std::time::Duration::from_millis(200);
    let (host, fetched) = fetch_from(identity(), Options { give_up_after, ..options() }).await;
    let error = fetched.unwrap_err();
    assert!(matches!(error.fault, StoreFault::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("certificate"), "it should say what is wrong: {error}");
    assert!(host.names().is_empty());
}
