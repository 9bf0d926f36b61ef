//! Certificates of a made-up authority: one for the server on 127.0.0.1, one for a client.

use std::path::Path;
use tempfile::TempDir;

pub struct Authority {
    folder: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        for (name, purpose) in [
            ("server", rcgen::ExtendedKeyUsagePurpose::ServerAuth),
            ("client", rcgen::ExtendedKeyUsagePurpose::ClientAuth),
        ] {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
            // etcd's gateway calls its own server with the server's certificate.
            params.extended_key_usages = vec![purpose, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
            let certificate = params.signed_by(&key, &issuer).unwrap();
            std::fs::write(folder.path().join(format!("{name}.pem")), certificate.pem()).unwrap();
            let key = key.serialize_pem();
            std::fs::write(folder.path().join(format!("{name}.key")), key).unwrap();
        }
        Self { folder }
    }

    /// Where `ca.pem`, `server.pem`, `server.key`, `client.pem` and `client.key` are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}
