//! What to check if TLS with a bonker fails. Pure.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError, Error as TlsFailure};

/// Advice, if TLS is what `error` or one of its sources is about.
pub(super) fn advice(error: &(dyn Error + 'static), https: bool) -> Option<&'static str> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(failure) = error.downcast_ref() {
            return Some(advice_for(failure));
        }
        if let Some(error) = error.downcast_ref::<io::Error>()
            && let Some(inner) = error.get_ref()
        {
            // Its source is its inner error's source: the inner error itself is left out.
            let inner: &(dyn Error + 'static) = inner;
            if let Some(advice) = self::advice(inner, https) {
                return Some(advice);
            }
        }
        if https
            && let Some(error) = error.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::UnexpectedEof
        {
            return Some(PLAINTEXT);
        }
        if error.source().is_none()
            && let Some(alert) = quoted(&error.to_string())
        {
            return Some(advice_for(&alert));
        }
        next = error.source();
    }
    None
}

/// HTTP/2 keeps only the text of an IO error.
fn quoted(text: &str) -> Option<TlsFailure> {
    [
        AlertDescription::CertificateRequired,
        AlertDescription::CertificateExpired,
        AlertDescription::UnknownCA,
        AlertDescription::DecryptError,
        AlertDescription::BadCertificate,
        AlertDescription::UnsupportedCertificate,
        AlertDescription::CertificateUnknown,
    ]
    .into_iter()
    .map(TlsFailure::AlertReceived)
    .find(|alert| text.contains(&alert.to_string()))
}

const PLAINTEXT: &str = "what answers there speaks no TLS, or hung up: check the port, and use \
    http:// if the bonker has no --tls-cert";

fn advice_for(failure: &TlsFailure) -> &'static str {
    match failure {
        TlsFailure::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is not of the CA in --ca: take the ca.crt from where the \
                 server's certificate was made"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for other names: use one of them in the URL, or make a \
                 certificate with `bonker-gpio certs --host` and this one"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired: make a new one with `bonker-gpio certs`, or check \
                 this machine's clock"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet: check the clocks of both machines"
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "its certificate is not for servers: check the server's --tls-cert"
            }
            _ => "its certificate is wrong: check --ca, and the server's --tls-cert",
        },
        TlsFailure::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => {
                "it demands a certificate: give --cert and --key, made by `bonker-gpio certs \
                 --client`"
            }
            AlertDescription::CertificateExpired => {
                "it takes the certificate in --cert for expired: make a new one with \
                 `bonker-gpio certs --client`, or check the clocks"
            }
            AlertDescription::UnknownCA
            | AlertDescription::DecryptError
            | AlertDescription::BadCertificate => {
                "it does not know the CA of the certificate in --cert: compare with the \
                 server's --tls-client-ca"
            }
            AlertDescription::UnsupportedCertificate | AlertDescription::CertificateUnknown => {
                "it does not take the certificate in --cert: use one for clients, made by \
                 `bonker-gpio certs --client`"
            }
            _ => "it broke the handshake off: see its log",
        },
        TlsFailure::InvalidMessage(_) => PLAINTEXT,
        TlsFailure::PeerIncompatible(_) => "it offers no protocol of this version",
        _ => "see its log",
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

    use super::advice;

    #[test]
    fn the_advice_is_found_at_any_depth() {
        let check = |failure: Error, part: &str| {
            let wrapped = io::Error::other(io::Error::other(failure));
            let advice = advice(&wrapped, true).unwrap();
            assert!(advice.contains(part), "{advice}");
        };
        let certificate = |why| Error::InvalidCertificate(why);
        check(certificate(CertificateError::UnknownIssuer), "--ca");
        check(
            certificate(CertificateError::NotValidForName),
            "other names",
        );
        check(certificate(CertificateError::Expired), "expired");
        check(certificate(CertificateError::NotValidYet), "clocks");
        check(
            certificate(CertificateError::InvalidPurpose),
            "not for servers",
        );
        let alert = |why| Error::AlertReceived(why);
        check(
            alert(AlertDescription::CertificateRequired),
            "--cert and --key",
        );
        check(alert(AlertDescription::UnknownCA), "--tls-client-ca");
        check(alert(AlertDescription::CertificateExpired), "expired");
        check(
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
            "http://",
        );
        let text = Error::AlertReceived(AlertDescription::UnknownCA).to_string();
        let quoted = io::Error::other(format!("connection error: {text}"));
        assert!(advice(&quoted, true).unwrap().contains("--tls-client-ca"));
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(advice(&refused, true), None);
        let ended = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert!(advice(&ended, true).unwrap().contains("no TLS"));
        assert_eq!(advice(&ended, false), None);
    }
}
