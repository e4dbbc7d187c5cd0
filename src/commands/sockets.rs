//! Connections to the local service: unencrypted on loopback, over TLS elsewhere.
//!
//! The service itself limits the number and duration of connections.

use crate::error::UsageError;
use anyhow::{Context, Result};
use axum::Router;
use dropmill_local_azure::reception::{self, Bounds};
use dropmill_private_files as private_files;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{io::BufReader, net::SocketAddr, path::Path, sync::Arc};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Encrypts connections with TLS.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    /// Reads a certificate with its chain, and its key, both PEM.
    ///
    /// # Errors Fails if a file cannot be read or has other content, the key does not belong to the
    /// certificate, or others can read the key.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self> {
        let unreadable = |path: &Path, error: &dyn std::fmt::Display| UsageError::File {
            path: path.to_owned(),
            problem: error.to_string(),
        };
        let chain =
            CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = chain.map_err(|error| unreadable(certificate, &error))?;
        if chain.is_empty() {
            return Err(unreadable(certificate, &"it contains no certificate in PEM format").into());
        }
        let file = private_files::open_secret(key);
        let file = file.map_err(|error| UsageError::Argument {
            argument: "--tls-key".into(),
            problem: error.to_string(),
        })?;
        let secret = PrivateKeyDer::from_pem_reader(BufReader::new(file));
        let secret = secret.map_err(|error| unreadable(key, &error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_no_client_auth().with_single_cert(chain, secret);
        let mut config = config.map_err(|error| unreadable(certificate, &error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

/// Reads an address, and checks that it may be served: an address that others can reach needs TLS.
fn read_address(address: &str, has_tls: bool, has_name: bool) -> Result<SocketAddr, &'static str> {
    let parsed: SocketAddr = address.parse().map_err(|_| "write it as address:port, as in 127.0.0.1:0")?;
    if !parsed.ip().is_loopback() && !has_tls {
        return Err("only loopback addresses are allowed without TLS: use --tls-cert and --tls-key");
    }
    if parsed.ip().is_unspecified() && !has_name {
        return Err(
            "this means every address of this machine: name the one that clients use with --host NAME",
        );
    }
    Ok(parsed)
}

/// Listens on an address; `host` is the name of this machine for clients.
///
/// # Errors Fails if the address is not valid, is in use, or can be reached by others without TLS.
pub fn listen(address: &str, option: &str, tls: Option<&Tls>, host: Option<&str>) -> Result<TcpListener> {
    let parsed = read_address(address, tls.is_some(), host.is_some()).map_err(|why| {
        UsageError::Argument { argument: format!("{option} {address}"), problem: why.to_owned() }
    })?;
    let port = parsed.port();
    reception::listen(parsed)
        .with_context(|| format!("{option} {address}: cannot use port {port}; port 0 takes any free one"))
}

/// Serves all connections until the process ends.
pub async fn serve(listener: TcpListener, tls: Option<Tls>, router: Router) {
    let bounds = Bounds::default();
    match tls {
        None => reception::serve(listener, router, bounds, reception::plain).await,
        Some(Tls(acceptor)) => {
            reception::serve(listener, router, bounds, move |stream| acceptor.clone().accept(stream)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_can_reach_is_served_only_over_tls() {
        for (address, has_tls, has_name, is_served) in [
            ("127.0.0.1:0", false, false, true),
            ("127.9.9.9:1", false, false, true),
            ("[::1]:0", false, false, true),
            ("0.0.0.0:0", false, true, false),
            ("192.0.2.1:1", false, true, false),
            ("[::]:0", false, true, false),
            ("[::ffff:192.0.2.1]:0", false, true, false),
            ("192.0.2.1:1", true, false, true),
            ("0.0.0.0:0", true, false, false),
            ("0.0.0.0:0", true, true, true),
            ("[::]:0", true, true, true),
            ("localhost:0", true, true, false),
            ("127.0.0.1", true, true, false),
        ] {
            assert_eq!(
                read_address(address, has_tls, has_name).is_ok(),
                is_served,
                "{address} {has_tls} {has_name}"
            );
        }
    }
}
