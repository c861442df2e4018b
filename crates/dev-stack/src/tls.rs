//! The development certificate authority, the gateway's certificate, and the key that signs tokens.
//!
//! Made once per site and kept: clients that were given the CA, and tokens that were handed out, stay
//! good over a restart.

use std::fs;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use crate::site::{Site, write_private};

/// The CA certificate, for clients.
pub(crate) const CA: &str = "ca.pem";
/// The gateway's certificate.
pub(crate) const CERT: &str = "server.pem";
/// The certificate's private key.
pub(crate) const KEY: &str = "server-key.pem";
/// The key that signs tokens: PKCS#8, EC P-256.
pub(crate) const TOKEN_KEY: &str = "token-key.pem";

/// Makes whatever is missing.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn ensure(site: &Site) -> Result<()> {
    // The authority's key is not kept: its certificate vouches for this one server only.
    if ![CA, CERT, KEY].iter().all(|name| site.tls(name).is_file()) {
        let authority = authority()?;
        let key = KeyPair::generate().context("cannot make a key")?;
        let certificate = server()?.signed_by(&key, &authority).context("cannot sign the certificate")?;
        write_private(&site.tls(KEY), key.serialize_pem().as_bytes())?;
        write_private(&site.tls(CERT), certificate.pem().as_bytes())?;
        write_private(&site.tls(CA), authority.pem().as_bytes())?;
    }
    if !site.tls(TOKEN_KEY).is_file() {
        let key = KeyPair::generate().context("cannot make a key")?;
        write_private(&site.tls(TOKEN_KEY), key.serialize_pem().as_bytes())?;
    }
    Ok(())
}

/// The CA certificate as PEM.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn ca_pem(site: &Site) -> Result<String> {
    fs::read_to_string(site.tls(CA)).context("cannot read the development CA")
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Keyfleet development CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().context("cannot make a key")?;
    CertifiedIssuer::self_signed(params, key).context("cannot make the development CA")
}

fn server() -> Result<CertificateParams> {
    let names = ["localhost", "127.0.0.1", "::1"].map(ToOwned::to_owned).to_vec();
    let mut params = CertificateParams::new(names).context("cannot name the certificate")?;
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Strict clients (Python 3.13) refuse a certificate that does not name its issuer's key.
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_kept_and_only_what_is_missing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::open(dir.path()).unwrap();
        ensure(&site).unwrap();
        let read = |name: &str| fs::read_to_string(site.tls(name)).unwrap();
        let (ca, token_key) = (read(CA), read(TOKEN_KEY));
        assert!(token_key.starts_with("-----BEGIN PRIVATE KEY-----"));

        fs::remove_file(site.tls(TOKEN_KEY)).unwrap();
        ensure(&site).unwrap();
        assert_eq!(read(CA), ca);
        assert_ne!(read(TOKEN_KEY), token_key);
    }
}
