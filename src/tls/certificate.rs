//! What stands in a certificate: for whom it is, and from when to when.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::files::{FileFault, TlsFileError};
use crate::config::model::tls::CertificateName;

/// Warned is from here on.
const WARN_BEFORE_SECONDS: u64 = 14 * 24 * 60 * 60;
const DAY_SECONDS: u64 = 24 * 60 * 60;
/// A longer name is nobody's.
const MAX_NAME: usize = 256;

/// When a certificate ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// The path of its file.
    pub certificate: Arc<str>,
    /// Its last second since 1970.
    pub not_after_unix: u64,
}

impl Expiry {
    /// What is to be said at this time, if something is.
    pub fn warning(&self, unix_seconds: u64) -> Option<String> {
        let left = self.not_after_unix.saturating_sub(unix_seconds);
        if left == 0 {
            return Some("the certificate has expired, clients refuse it; renew it and reload".to_owned());
        }
        (left < WARN_BEFORE_SECONDS).then(|| match left / DAY_SECONDS {
            0 => "the certificate expires in less than a day; renew it and reload".to_owned(),
            1 => "the certificate expires in 1 day; renew it and reload".to_owned(),
            days => format!("the certificate expires in {days} days; renew it and reload"),
        })
    }
}

/// What is looked at of a certificate.
#[derive(Debug)]
pub(super) struct Looked {
    /// In lower case, a wildcard among them perhaps.
    pub(super) dns_names: Vec<String>,
    pub(super) not_after_unix: u64,
}

/// Looks into a server's certificate, which must be in its time.
pub(super) fn look(path: &Path, der: &CertificateDer<'_>, unix_seconds: u64) -> Result<Looked, TlsFileError> {
    let wrong = |fault| TlsFileError::of(path, fault);
    let (_, parsed) = X509Certificate::from_der(der).map_err(|_| wrong(FileFault::Damaged))?;
    let validity = parsed.validity();
    let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let now = i64::try_from(unix_seconds).unwrap_or(i64::MAX);
    if now > to {
        return Err(wrong(FileFault::Expired(date(to))));
    }
    if now < from {
        return Err(wrong(FileFault::NotYetValid(date(from))));
    }
    let names = alternative_names(&parsed);
    let dns = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.trim_end_matches('.').to_ascii_lowercase()),
        _ => None,
    });
    let dns_names: Vec<String> = dns.collect();
    if names.is_empty() {
        return Err(wrong(FileFault::NoNames));
    }
    Ok(Looked { dns_names, not_after_unix: u64::try_from(to).unwrap_or(0) })
}

/// Whom a client's certificate names; `None` if it names nobody, several, or its time is over.
///
/// The handshake has verified it. A session that is taken up again brings the certificate of its first handshake, which may
/// have expired since.
pub fn client_name(der: &CertificateDer<'_>, by: CertificateName, unix_seconds: u64) -> Option<Arc<str>> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    let now = i64::try_from(unix_seconds).unwrap_or(i64::MAX);
    if now > parsed.validity().not_after.timestamp() {
        return None;
    }
    let name = match by {
        CertificateName::SubjectCn => {
            let mut names = parsed.subject().iter_common_name();
            let name = names.next()?.as_str().ok()?;
            // Two names are two claims.
            names.next().is_none().then(|| name.to_owned())
        }
        CertificateName::SanDns | CertificateName::SanEmail | CertificateName::SanUri => {
            let names = alternative_names(&parsed);
            let mut names = names.iter().filter_map(|name| match (by, name) {
                (CertificateName::SanDns, GeneralName::DNSName(name))
                | (CertificateName::SanEmail, GeneralName::RFC822Name(name))
                | (CertificateName::SanUri, GeneralName::URI(name)) => Some((*name).to_owned()),
                _ => None,
            });
            let name = names.next()?;
            names.next().is_none().then_some(name)
        }
    }?;
    let is_plain = (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control);
    is_plain.then(|| name.into())
}

/// Whether a client's certificate has ended; one that cannot be read has.
pub(super) fn has_ended(der: &CertificateDer<'_>, unix_seconds: u64) -> bool {
    let now = i64::try_from(unix_seconds).unwrap_or(i64::MAX);
    X509Certificate::from_der(der).map_or(true, |(_, parsed)| now > parsed.validity().not_after.timestamp())
}

fn alternative_names<'c>(certificate: &'c X509Certificate<'_>) -> Vec<GeneralName<'c>> {
    match certificate.subject_alternative_name() {
        Ok(Some(names)) => names.value.general_names.clone(),
        Ok(None) | Err(_) => Vec::new(),
    }
}

fn date(unix_seconds: i64) -> String {
    Timestamp::from_second(unix_seconds).map_or_else(|_| "never".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_warned_of_from_fourteen_days_on() {
        let expiry = Expiry { certificate: "/a".into(), not_after_unix: 100 * DAY_SECONDS };
        let at = |seconds: u64| expiry.warning(100 * DAY_SECONDS - seconds);
        assert_eq!(at(14 * DAY_SECONDS), None);
        assert!(at(14 * DAY_SECONDS - 1).unwrap().contains("in 13 days"));
        assert!(at(DAY_SECONDS).unwrap().contains("in 1 day;"));
        assert!(at(5).unwrap().contains("less than a day"));
        assert!(at(0).unwrap().contains("has expired"));
    }
}
