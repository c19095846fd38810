//! The contents of the certificates.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use super::CertsError;

const CA_LIFETIME: Duration = days(3650);

/// The most that Apple's systems take of a server with a CA of one's own.
const LEAF_LIFETIME: Duration = days(825);

/// A Pi without a clock of its own may be behind.
const BACKDATED: Duration = days(2);

const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

pub(super) struct Authority(Issuer<'static, KeyPair>);

/// A certificate and its key, PEM.
pub(super) struct Pair {
    pub(super) cert: String,
    pub(super) key: String,
}

// === impl Authority ===

impl Authority {
    pub(super) fn new(now: SystemTime) -> Result<(Self, Pair), CertsError> {
        const NAME: &str = "bonker-gpio CA";
        let failed = make_error(NAME);
        let mut params = params(NAME, &[], now, CA_LIFETIME)?;
        // It signs certificates of servers and clients, and no further CA.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(&failed)?;
        let pair = Pair {
            cert: params.self_signed(&key).map_err(&failed)?.pem(),
            key: key.serialize_pem(),
        };
        Ok((Self(Issuer::new(params, key)), pair))
    }

    pub(super) fn read(cert: &str, key: &str) -> Result<Self, rcgen::Error> {
        let key = KeyPair::from_pem(key)?;
        Ok(Self(Issuer::from_ca_cert_pem(cert, key)?))
    }

    pub(super) fn server(&self, hosts: &[String], now: SystemTime) -> Result<Pair, CertsError> {
        let name = hosts.first().map_or("server", String::as_str);
        let mut names = hosts.to_vec();
        names.extend(LOCAL.map(str::to_owned));
        names.dedup();
        self.sign(name, &names, ExtendedKeyUsagePurpose::ServerAuth, now)
    }

    pub(super) fn client(&self, name: &str, now: SystemTime) -> Result<Pair, CertsError> {
        self.sign(name, &[], ExtendedKeyUsagePurpose::ClientAuth, now)
    }

    fn sign(
        &self,
        name: &str,
        names: &[String],
        usage: ExtendedKeyUsagePurpose,
        now: SystemTime,
    ) -> Result<Pair, CertsError> {
        let failed = make_error(name);
        let mut params = params(name, names, now, LEAF_LIFETIME)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(&failed)?;
        Ok(Pair {
            cert: params.signed_by(&key, &self.0).map_err(&failed)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn params(
    name: &str,
    names: &[String],
    now: SystemTime,
    lifetime: Duration,
) -> Result<CertificateParams, CertsError> {
    let mut params = CertificateParams::new(names).map_err(make_error(name))?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + lifetime).into();
    Ok(params)
}

const fn days(number: u64) -> Duration {
    Duration::from_hours(24 * number)
}

fn make_error(name: &str) -> impl Fn(rcgen::Error) -> CertsError {
    move |source| CertsError::Make {
        name: name.to_owned(),
        source,
    }
}
