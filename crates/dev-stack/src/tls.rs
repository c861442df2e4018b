//! The development certificate authorities, the certificates of the gateway and of the services among themselves, and the key
//! that signs tokens.
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
/// The authority that services and servers know one another by: another one, so that whom the gateway's CA vouches for can
/// command nobody.
pub(crate) const INTERNAL_CA: &str = "internal-ca.pem";
/// What each of them shows.
pub(crate) const INTERNAL_CERT: &str = "internal.pem";
/// Its private key.
pub(crate) const INTERNAL_KEY: &str = "internal-key.pem";
/// The key that signs tokens: PKCS#8, EC P-256.
pub(crate) const TOKEN_KEY: &str = "token-key.pem";

/// Makes whatever is missing.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn ensure(site: &Site) -> Result<()> {
    let server = [ExtendedKeyUsagePurpose::ServerAuth];
    let both = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    certify(site, [CA, CERT, KEY], &server)?;
    certify(site, [INTERNAL_CA, INTERNAL_CERT, INTERNAL_KEY], &both)?;
    if !site.tls(TOKEN_KEY).is_file() {
        let key = KeyPair::generate().context("cannot make a key")?;
        write_private(&site.tls(TOKEN_KEY), key.serialize_pem().as_bytes())?;
    }
    Ok(())
}

/// Makes an authority and a certificate of it, unless they are there. The authority's key is not kept: it vouches for this one
/// certificate only.
fn certify(site: &Site, [ca, cert, key]: [&str; 3], purposes: &[ExtendedKeyUsagePurpose]) -> Result<()> {
    if [ca, cert, key].iter().all(|name| site.tls(name).is_file()) {
        return Ok(());
    }
    let authority = authority()?;
    let pair = KeyPair::generate().context("cannot make a key")?;
    let certificate = machine(purposes)?.signed_by(&pair, &authority).context("cannot sign the certificate")?;
    write_private(&site.tls(key), pair.serialize_pem().as_bytes())?;
    write_private(&site.tls(cert), certificate.pem().as_bytes())?;
    write_private(&site.tls(ca), authority.pem().as_bytes())
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

/// A certificate of this machine.
fn machine(purposes: &[ExtendedKeyUsagePurpose]) -> Result<CertificateParams> {
    let names = ["localhost", "127.0.0.1", "::1"].map(ToOwned::to_owned).to_vec();
    let mut params = CertificateParams::new(names).context("cannot name the certificate")?;
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = purposes.to_vec();
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
