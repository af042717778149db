//! Chains of certificates and private keys, as files.
//!
//! Invariant: nothing of what is in a file of keys is in a message, or in `Debug`.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Authorities of a whole host fit into it many times.
const MAX_BYTES: u64 = 4 << 20;
/// Readable or writable by everybody.
const FOR_EVERYBODY: u32 = 0o007;

/// A file that cannot be used, and why.
#[derive(Debug)]
pub struct TlsFileError {
    /// As the configuration names it.
    pub path: String,
    /// Why.
    pub fault: FileFault,
}

/// Why a file cannot be used.
#[derive(Debug)]
pub enum FileFault {
    /// It cannot be opened or read.
    Unreadable(io::Error),
    /// It is a directory, a pipe or a device.
    NoFile,
    /// It is larger than 4 MiB.
    TooLarge,
    /// No certificate is in it.
    NoCertificate,
    /// No private key is in it.
    NoKey,
    /// The key needs a passphrase.
    EncryptedKey,
    /// The key is of a kind that cannot be used.
    UnusableKey,
    /// What is in it is damaged.
    Damaged,
    /// The key belongs to another certificate; the key's path.
    KeyMismatch(String),
    /// The certificate's time is over; since when.
    Expired(String),
    /// The certificate's time has not begun; when it does.
    NotYetValid(String),
    /// The certificate is for no name.
    NoNames,
    /// There is no authority in it that can be used.
    NoAuthority(String),
    /// The host has no authorities.
    NoHostAuthorities,
}

impl TlsFileError {
    pub(super) fn of(path: &Path, fault: FileFault) -> TlsFileError {
        TlsFileError { path: path.display().to_string(), fault }
    }
}

impl fmt::Display for TlsFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.fault {
            FileFault::NoHostAuthorities => {
                write!(
                    f,
                    "this host has no authorities that vouch for anybody; install `ca-certificates`, or name a file, `ca` of `[upstream.tls]`"
                )
            }
            FileFault::Unreadable(error) => {
                let text = error.to_string();
                let text = text.split(" (os error").next().unwrap_or_default().to_lowercase();
                write!(
                    f,
                    "`{path}` cannot be read: {text}; check the path, and that the user of this process may read it"
                )
            }
            FileFault::NoFile => write!(f, "`{path}` is no regular file; check the path"),
            FileFault::TooLarge => write!(f, "`{path}` is larger than 4MiB; check the path"),
            FileFault::NoCertificate => write!(
                f,
                "`{path}` holds no certificate; it must be PEM, `-----BEGIN CERTIFICATE-----`, the server's own first"
            ),
            FileFault::NoKey => {
                write!(f, "`{path}` holds no private key; it must be PEM, `-----BEGIN PRIVATE KEY-----`")
            }
            FileFault::EncryptedKey => write!(
                f,
                "the key in `{path}` needs a passphrase; write it without, `openssl pkey -in OLD -out NEW`, and `chmod 0600` it"
            ),
            FileFault::UnusableKey => {
                write!(
                    f,
                    "the key in `{path}` cannot be used; make one of RSA with 2048 bits or more, ECDSA P-256, P-384, or Ed25519"
                )
            }
            FileFault::Damaged => write!(f, "`{path}` is damaged; fetch it anew"),
            FileFault::KeyMismatch(key) => write!(
                f,
                "the key in `{key}` does not belong to the first certificate in `{path}`; name the files that were made together, the server's certificate first"
            ),
            FileFault::Expired(since) => {
                write!(f, "the certificate in `{path}` has expired, {since}; renew it")
            }
            FileFault::NotYetValid(from) => {
                write!(f, "the certificate in `{path}` is not valid before {from}; check this host's clock")
            }
            FileFault::NoNames => {
                write!(f, "the certificate in `{path}` is for no name; it needs one as `subjectAltName`")
            }
            FileFault::NoAuthority(why) => {
                write!(
                    f,
                    "`{path}` holds no authority that can be used: {why}; name a file of authorities' certificates"
                )
            }
        }
    }
}

impl std::error::Error for TlsFileError {}

/// Reads a file, bounded.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsFileError> {
    read_bytes(path).map_err(|fault| TlsFileError::of(path, fault))
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, FileFault> {
    // Asked before it is opened: opening a pipe waits until somebody writes.
    if !fs::metadata(path).map_err(FileFault::Unreadable)?.is_file() {
        return Err(FileFault::NoFile);
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(FileFault::Unreadable)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(FileFault::Unreadable)?;
    if bytes.len() as u64 > MAX_BYTES { Err(FileFault::TooLarge) } else { Ok(bytes) }
}

/// All certificates in a file's text, in its order; at least one.
pub(super) fn chain(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match chain {
        Ok(chain) if chain.is_empty() => Err(TlsFileError::of(path, FileFault::NoCertificate)),
        Ok(chain) => Ok(chain),
        // What is wrong may quote a line of a key.
        Err(_) => Err(TlsFileError::of(path, FileFault::Damaged)),
    }
}

/// The first private key in a file's text.
pub(super) fn key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
        let is_encrypted = [&b"ENCRYPTED PRIVATE KEY-----"[..], b"Proc-Type: 4,ENCRYPTED"]
            .iter()
            .any(|mark| memchr::memmem::find(pem, mark).is_some());
        let fault = match error {
            _ if is_encrypted => FileFault::EncryptedKey,
            rustls::pki_types::pem::Error::NoItemsFound => FileFault::NoKey,
            _ => FileFault::Damaged,
        };
        TlsFileError::of(path, fault)
    })
}

/// Says so if everybody on this host can read a key.
pub(super) fn warn_if_open(path: &Path) {
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode() & 0o7777);
    if mode & FOR_EVERYBODY != 0 {
        let path = path.display();
        tracing::warn!(%path, "everybody on this host may read the private key, its mode is {mode:04o}; `chmod 0640` it");
    }
}
