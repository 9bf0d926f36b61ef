//! Signing on a laptop or in CI, where the key is a file: what `ssh-keygen -Y sign` does.
//!
//! Keys that have a passphrase, lie in an agent or on a token are `ssh-keygen`'s business; what it
//! writes is taken as well.

use crate::signers::{NAMESPACE, fingerprint};
use ssh_key::{HashAlg, LineEnding, PrivateKey};

/// Why nothing was signed. Says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// It is no private key of OpenSSH.
    #[error("this is no private key of OpenSSH: {0}; make one with `ssh-keygen -t ed25519`")]
    NoKey(String),
    /// It has a passphrase.
    #[error(
        "this key has a passphrase; let ssh-keygen ask for it: `rollinit release document FILE | \
         ssh-keygen -Y sign -n {NAMESPACE} -f KEY >> FILE`"
    )]
    Passphrase,
    /// It is of another kind.
    #[error(
        "a key of the kind {0} is not used from its file; make one with `ssh-keygen -t ed25519`, \
         or, if it is a token's: `rollinit release document FILE | ssh-keygen -Y sign \
         -n {NAMESPACE} -f KEY >> FILE`"
    )]
    Kind(String),
}

/// A private key.
#[derive(Debug)]
pub struct Key(PrivateKey);

impl Key {
    /// Reads the text of a private key's file.
    ///
    /// # Errors
    /// It is none that can be used here.
    pub fn read(text: &str) -> Result<Self, SignError> {
        let key =
            PrivateKey::from_openssh(text).map_err(|error| SignError::NoKey(error.to_string()))?;
        if key.is_encrypted() {
            return Err(SignError::Passphrase);
        }
        if !key.public_key().key_data().is_ed25519() {
            return Err(SignError::Kind(key.algorithm().to_string()));
        }
        Ok(Self(key))
    }

    /// Its fingerprint: `SHA256:…`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(self.0.public_key().key_data())
    }

    /// The signature over a document, in its armour.
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn sign(&self, document: &[u8]) -> Result<String, SignError> {
        let signed = self.0.sign(NAMESPACE, HashAlg::Sha512, document);
        let armoured = signed.and_then(|signature| signature.to_pem(LineEnding::LF));
        armoured.map_err(|error| SignError::NoKey(error.to_string()))
    }
}
