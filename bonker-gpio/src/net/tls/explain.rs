//! Hints for a handshake that failed on the server's side. Pure.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError, Error as TlsFailure};

/// The TLS library's own error inside of one of IO.
pub(super) fn failure(error: &io::Error) -> Option<&TlsFailure> {
    let inner: &(dyn Error + 'static) = error.get_ref()?;
    inner.downcast_ref()
}

/// A hint that ends the log line; empty where there is none.
pub(super) fn hint(error: &io::Error) -> &'static str {
    match failure(error) {
        Some(TlsFailure::NoCertificatesPresented) => {
            "the client showed no certificate: give it --cert and --key, of the CA in --tls-client-ca"
        }
        Some(TlsFailure::InvalidCertificate(why)) => match why {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "the client's certificate is not of the CA in --tls-client-ca"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the client's certificate has expired: make a new one with `bonker-gpio certs`"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the client's certificate is not valid yet: check the clocks of both machines"
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "the client showed a certificate that is not for clients, perhaps a server's"
            }
            _ => "",
        },
        Some(TlsFailure::AlertReceived(alert)) => match alert {
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown => {
                "the client did not take this server's certificate: check the client's --ca, and \
                 that the name it connects to is in the certificate"
            }
            AlertDescription::CertificateExpired => {
                "the client takes this server's certificate for expired: make a new one with \
                 `bonker-gpio certs`, or check the clocks"
            }
            _ => "",
        },
        Some(TlsFailure::PeerIncompatible(_)) => {
            "the client offers no TLS 1.3, or not this port's protocol"
        }
        _ => "",
    }
}
