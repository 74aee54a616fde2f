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
    use super::*;

    fn verifier(certificate: &CertificateDer<'static>) -> OneClient {
        let crypto = Arc::new(aws_lc_rs::default_provider());
        OneClient {
            certificate: certificate.clone(),
            crypto,
        }
    }

    fn certificate() -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed([SERVER_NAME.to_owned()]).unwrap();
        made.cert.der().clone()
    }

    #[test]
    fn only_the_certificate_that_was_told_is_let_in() {
        let (told, other) = (certificate(), certificate());
        let verifier = verifier(&told);
        assert!(
            verifier
                .verify_client_cert(&told, &[], UnixTime::now())
                .is_ok()
        );
        assert!(
            verifier
                .verify_client_cert(&other, &[], UnixTime::now())
                .is_err()
        );
        assert!(verifier.client_auth_mandatory());
    }

    #[test]
    fn the_kind_of_key_that_terraform_makes_can_be_checked() {
        let schemes = verifier(&certificate()).supported_verify_schemes();
        assert!(schemes.contains(&SignatureScheme::ECDSA_NISTP521_SHA512));
    }

    #[test]
    fn a_client_certificate_that_is_none_is_refused() {
        assert!(matches!(
            server_end("nonsense"),
            Err(TlsError::ClientCertificate(_))
        ));
    }
}
