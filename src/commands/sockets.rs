//! Connections to the local service: plain on loopback, over TLS anywhere.
//!
//! Who is let in, and for how long, the service's own reception decides.

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

/// How connections are made secret.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    /// Reads a certificate (with those that vouch for it) and its key, both PEM.
    ///
    /// # Errors
    /// When a file cannot be read or does not hold that, the key is not the certificate's, or others can read the key.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self> {
        let unreadable = |path: &Path, error: &dyn std::fmt::Display| UsageError::File {
            path: path.to_owned(),
            problem: error.to_string(),
        };
        let chain =
            CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = chain.map_err(|error| unreadable(certificate, &error))?;
        if chain.is_empty() {
            return Err(unreadable(certificate, &"it holds no certificate in PEM").into());
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

/// Reads an address, and decides whether it may be served: one that others can reach with TLS alone.
fn read_address(address: &str, has_tls: bool, has_name: bool) -> Result<SocketAddr, &'static str> {
    let parsed: SocketAddr = address.parse().map_err(|_| "write it as address:port, as in 127.0.0.1:0")?;
    if !parsed.ip().is_loopback() && !has_tls {
        return Err("only loopback addresses are allowed without TLS: --tls-cert and --tls-key give it");
    }
    if parsed.ip().is_unspecified() && !has_name {
        return Err("that is every address of this machine: --host NAME says which one clients use");
    }
    Ok(parsed)
}

/// Takes an address; `host` is what clients call this machine.
///
/// # Errors
/// When it is none, cannot be had, or is one that others can reach and there is no TLS.
pub fn listen(address: &str, option: &str, tls: Option<&Tls>, host: Option<&str>) -> Result<TcpListener> {
    let parsed = read_address(address, tls.is_some(), host.is_some()).map_err(|why| {
        UsageError::Argument { argument: format!("{option} {address}"), problem: why.to_owned() }
    })?;
    let port = parsed.port();
    reception::listen(parsed)
        .with_context(|| format!("{option} {address}: port {port} cannot be had; port 0 takes any free one"))
}

/// Serves whoever connects, for ever.
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
    fn what_others_can_reach_is_served_over_tls_alone() {
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
