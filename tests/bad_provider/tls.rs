//! A provider whose certificate is of an authority that only its operator knows.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use serde_json::Value;

use super::{
    Deed, Teller, fleet, heals, identity, keeps_its_secrets, seen,
    support::{Door, Era, Fleet},
    told,
};

/// A private authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut about = CertificateParams::default();
        about.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(about, key).expect("a certificate"))
    }

    /// What stands in `OIDC_CA_FILE`, put into the fleet's folder.
    fn trusted_by(&self, fleet: Fleet) -> Fleet {
        let path = fleet.path("ca.pem");
        fs::write(&path, self.0.pem()).expect("the certificate can be written");
        fleet.env("OIDC_CA_FILE", &path.display().to_string())
    }

    /// A provider with a certificate of this authority for this host.
    async fn provider_at(&self, host: &str) -> Teller {
        let key = KeyPair::generate().expect("a key");
        let about = CertificateParams::new([host.to_owned()]).expect("a name");
        let certificate = about.signed_by(&key, &self.0).expect("a certificate");
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let tls = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate and its key");
        Teller::start_tls(Deed::good(), tls).await
    }
}

async fn is_refused(fleet: Fleet, teller: &Teller, words: &str) {
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Modern).await;

    assert_eq!(seen(&mut client).await, Value::Null);
    told(&mux, "unreachable", words).await;
    assert!(teller.asked().is_empty(), "nothing is said to a stranger");
    keeps_its_secrets(&mux).await;
}

async fn is_accepted(fleet: Fleet) {
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Modern).await;

    heals(&mux, &mut client).await;
    assert_eq!(identity(&mux).await["failures"], 0);
    keeps_its_secrets(&mux).await;
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_it_is_named_and_nowhere_else() {
    let authority = Authority::new();
    let teller = authority.provider_at("127.0.0.1").await;

    is_refused(fleet(&teller), &teller, "certificate").await;
    is_refused(
        Authority::new().trusted_by(fleet(&teller)),
        &teller,
        "certificate",
    )
    .await;
    is_accepted(authority.trusted_by(fleet(&teller))).await;
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let authority = Authority::new();
    let teller = authority.provider_at("id.example.org").await;

    is_refused(authority.trusted_by(fleet(&teller)), &teller, "certificate").await;
}

#[tokio::test]
async fn an_operator_may_leave_the_certificate_unchecked_and_is_warned() {
    let teller = Authority::new().provider_at("id.example.org").await;
    let fleet = fleet(&teller).env("OIDC_TLS_VERIFY", "false");
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Modern).await;

    heals(&mux, &mut client).await;

    let warned = |line: &str| line.contains("WARN") && line.contains("NOT checked");
    mux.log.until("a warning", warned).await;
}

#[tokio::test]
async fn a_file_that_holds_no_certificate_stops_the_start() {
    let teller = Teller::start(Deed::good()).await;
    let fleet = fleet(&teller);
    let path = fleet.path("ca.pem");
    fs::write(&path, "canary").expect("a file can be written");
    let fleet = fleet.env("OIDC_CA_FILE", &path.display().to_string());

    let output = fleet
        .run(&["serve", "--transport", "http", "--port", "0"])
        .await;

    assert!(!output.status.success());
    assert!(output.stderr.contains("OIDC_CA_FILE"), "{}", output.stderr);
    assert!(!output.stderr.contains("canary"), "{}", output.stderr);
}
