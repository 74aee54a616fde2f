//! TLS as Terraform's plugin library sets it up: each side makes a certificate
//! for this one process and tells it to the other, and trusts no other.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rcgen::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    self, CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};

/// The name that Terraform expects in the certificate.
const SERVER_NAME: &str = "localhost";

/// TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    /// Terraform's certificate cannot be read.
    #[error("the certificate in the environment variable PLUGIN_CLIENT_CERT cannot be read")]
    ClientCertificate(#[source] pem::Error),
    /// Our own certificate cannot be made.
    #[error("a certificate for the connection cannot be made")]
    OwnCertificate(#[from] rcgen::Error),
    /// The certificates do not fit.
    #[error("TLS cannot be set up for the connection")]
    Setup(#[from] rustls::Error),
}

/// The server's end of one connection.
pub(super) struct ServerEnd {
    /// Accepts the one client.
    pub(super) acceptor: TlsAcceptor,
    /// The server's certificate, as the handshake line tells it: base64 without padding.
    pub(super) certificate: String,
}

/// Makes a certificate for this process; `client_pem` is the client's own.
pub(super) fn server_end(client_pem: &str) -> Result<ServerEnd, TlsError> {
    let client = CertificateDer::from_pem_slice(client_pem.as_bytes())
        .map_err(TlsError::ClientCertificate)?;
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed([SERVER_NAME.to_owned()])?;
    let crypto = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(OneClient {
        certificate: client,
        crypto: Arc::clone(&crypto),
    });
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let mut config = ServerConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![cert.der().clone()], key.into())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(ServerEnd {
        acceptor: Arc::new(config).into(),
        certificate: STANDARD_NO_PAD.encode(cert.der()),
    })
}

/// Lets in the holder of one certificate's key.
///
/// The certificate marks itself as an authority, which the usual verifier
/// refuses of a client; and there is no chain to follow, only this one.
#[derive(Debug)]
struct OneClient {
    certificate: CertificateDer<'static>,
    crypto: Arc<CryptoProvider>,
}

impl ClientCertVerifier for OneClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.crypto.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.crypto.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.crypto
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, PKCS_ECDSA_P521_SHA512};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    use super::*;

    /// A certificate as Terraform's plugin library makes them.
    fn client() -> CertifiedKey<KeyPair> {
        let signing_key = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).unwrap();
        let mut params = CertificateParams::new([SERVER_NAME.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let cert = params.self_signed(&signing_key).unwrap();
        CertifiedKey { cert, signing_key }
    }

    /// Whether the server that was told of `told` lets in a client with `shown`.
    async fn lets_in(told: &CertifiedKey<KeyPair>, shown: Option<&CertifiedKey<KeyPair>>) -> bool {
        let encoded = STANDARD.encode(told.cert.der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n");
        let server = server_end(&pem).unwrap();
        let mut roots = RootCertStore::empty();
        let certificate = STANDARD_NO_PAD.decode(&server.certificate).unwrap();
        roots.add(CertificateDer::from(certificate)).unwrap();
        let crypto = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            None => config.with_no_client_auth(),
            Some(shown) => {
                let key = PrivatePkcs8KeyDer::from(shown.signing_key.serialize_der());
                let chain = vec![shown.cert.der().clone()];
                config.with_client_auth_cert(chain, key.into()).unwrap()
            }
        };
        let (near, far) = tokio::io::duplex(1 << 16);
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let (_, accepted) =
            tokio::join!(connector.connect(name, near), server.acceptor.accept(far));
        accepted.is_ok()
    }

    #[tokio::test]
    async fn only_the_client_that_was_told_of_is_let_in() {
        let (told, other) = (client(), client());
        assert!(lets_in(&told, Some(&told)).await);
        assert!(!lets_in(&told, Some(&other)).await);
        assert!(!lets_in(&told, None).await);
    }

    #[test]
    fn a_client_certificate_that_is_none_is_refused() {
        assert!(matches!(
            server_end("nonsense"),
            Err(TlsError::ClientCertificate(_))
        ));
    }
}
