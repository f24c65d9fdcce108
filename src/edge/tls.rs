//! TLS of our own, for those who have no proxy that does it.
//!
//! Not here: when it begins (`arrival`), ordinary octets (`stream`). Invariant: a certificate and
//! its key are read together, and a pair that does not fit never takes the place of one that does.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{Error as RustlsError, ServerConfig};

/// Why TLS cannot be served. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificates cannot be read.
    #[error("the certificates in {} cannot be read: {error}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: PemError,
    },
    /// There is no certificate.
    #[error("there is no certificate in {}: it begins with -----BEGIN CERTIFICATE-----", .0.display())]
    NoCertificate(PathBuf),
    /// The key cannot be read.
    #[error("the private key in {} cannot be read: {error}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: PemError,
    },
    /// They cannot be used together.
    #[error("the key in {} does not go with {}: {error}", key.display(), certificates.display())]
    Pair {
        /// The file of the certificates.
        certificates: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong with them.
        error: RustlsError,
    },
}

/// The certificate of this server, as two files of PEM, which may be read again.
#[derive(Debug)]
pub struct Certificates {
    certificates: PathBuf,
    key: PathBuf,
    /// Read for each connection, written when the files are read again.
    config: RwLock<Arc<ServerConfig>>,
}

impl Certificates {
    /// Reads a chain of certificates, the server's own first, and its key.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn load(certificates: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self {
            certificates: certificates.to_owned(),
            key: key.to_owned(),
            config: RwLock::new(read(certificates, key)?),
        })
    }

    /// Reads both files again, for connections from now on.
    ///
    /// # Errors
    /// When a file cannot be used; then everything stays as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let config = read(&self.certificates, &self.key)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// What the next connection is accepted with.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&config).into()
    }
}

fn read(certificates: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let unreadable = |error| TlsError::Certificates {
        path: certificates.to_owned(),
        error,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect)
        .map_err(unreadable)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(certificates.to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::Key {
        path: key.to_owned(),
        error,
    })?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(chain, secret)
        });
    let mut config = config.map_err(|error| TlsError::Pair {
        certificates: certificates.to_owned(),
        key: key.to_owned(),
        error,
    })?;
    // A client that offers none (STOMP over TCP) is served all the same.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
