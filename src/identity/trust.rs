//! Whom this machine trusts, found out when the first certificate is to be judged.
//!
//! To read all certificates of a system takes longer than all else at the start, and a
//! fleet on loopback or behind a gateway never needs them. So there is one judge for the
//! whole process, which reads them when it is first asked.

use std::sync::{Arc, LazyLock, OnceLock};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use rustls_platform_verifier::Verifier;
use tracing::warn;

static PLATFORM: LazyLock<Arc<Platform>> = LazyLock::new(|| {
    Arc::new(Platform {
        crypto: Arc::new(aws_lc_rs::default_provider()),
        verifier: OnceLock::new(),
    })
});

/// TLS for whoever connects to a server that the platform is to trust.
///
/// # Errors
///
/// When TLS cannot be set up at all.
pub fn platform_tls() -> Result<ClientConfig, Error> {
    let platform = Arc::clone(&PLATFORM);
    let config = ClientConfig::builder_with_provider(Arc::clone(&platform.crypto))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(platform)
        .with_no_client_auth();
    Ok(config)
}

/// The platform's own judge.
#[derive(Debug)]
struct Platform {
    crypto: Arc<CryptoProvider>,
    verifier: OnceLock<Result<Verifier, Error>>,
}

impl Platform {
    /// A machine without certificates (a container made of one file, say) can still talk
    /// over plain HTTP.
    fn verifier(&self) -> Result<&Verifier, Error> {
        let read = || {
            Verifier::new(Arc::clone(&self.crypto)).inspect_err(|error| {
                warn!(%error, "no certificates to trust: https URLs cannot be reached");
            })
        };
        self.verifier
            .get_or_init(read)
            .as_ref()
            .map_err(Clone::clone)
    }
}

impl ServerCertVerifier for Platform {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verifier = self.verifier()?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier()?
            .verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier()?
            .verify_tls13_signature(message, cert, signed)
    }

    /// What is said before any certificate has come.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.crypto
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_what_the_platform_offers_and_nothing_is_read_for_it() {
        let platform = Platform {
            crypto: Arc::new(aws_lc_rs::default_provider()),
            verifier: OnceLock::new(),
        };
        let offered = platform.supported_verify_schemes();
        assert!(platform.verifier.get().is_none());
        if let Ok(verifier) = platform.verifier() {
            assert_eq!(offered, verifier.supported_verify_schemes());
        }
    }
}
