//! Which certificate a client gets: by the name it asks for, and by the signatures it understands.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Certificates by their names. One name may have several, with keys of different kinds.
#[derive(Debug, Default)]
pub(super) struct ByName {
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// `*.example.com`, by `example.com`.
    wildcards: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// In the order of the configuration.
    all: Vec<Arc<CertifiedKey>>,
}

impl ByName {
    /// Adds a certificate with its names, in lower case.
    pub(super) fn add(&mut self, certified: CertifiedKey, names: Vec<String>) {
        let certified = Arc::new(certified);
        for name in names {
            let (map, name) = match name.strip_prefix("*.") {
                Some(parent) => (&mut self.wildcards, parent.to_owned()),
                None => (&mut self.exact, name),
            };
            map.entry(name).or_default().push(Arc::clone(&certified));
        }
        self.all.push(certified);
    }

    /// The certificates of a name; all there are if it is unknown, the default first.
    fn of(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let found = name.and_then(|name| {
            // Clients send it in lower case already.
            let exact = self.exact.get(name);
            exact.or_else(|| self.wildcards.get(name.split_once('.')?.1))
        });
        found.map_or(&self.all, Vec::as_slice)
    }

    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let certified = self.of(name);
        let usable = certified.iter().find(|certified| certified.key.choose_scheme(schemes).is_some());
        // Without one, the handshake tells the client so.
        usable.or(certified.first()).cloned()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(client_hello.server_name(), client_hello.signature_schemes())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::KeyPair;
    use rustls::pki_types::PrivateKeyDer;

    use super::*;

    fn certified(name: &str) -> CertifiedKey {
        let key = KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
        CertifiedKey::new(vec![certificate.der().clone()], key)
    }

    #[test]
    fn a_name_has_its_certificate_a_wildcard_one_label_and_the_rest_the_first() {
        let mut by_name = ByName::default();
        for names in [&["a.test", "b.test"][..], &["*.b.test"], &["c.b.test"]] {
            by_name.add(certified(names[0]), names.iter().map(|name| (*name).to_owned()).collect());
        }
        let all = by_name.all.clone();
        let chosen = |name: Option<&str>| {
            let chosen = by_name.choose(name, &[SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
            all.iter().position(|certified| Arc::ptr_eq(certified, &chosen)).unwrap()
        };
        for (name, wanted) in [
            (Some("a.test"), 0),
            (Some("b.test"), 0),
            (Some("x.b.test"), 1),
            (Some("c.b.test"), 2),
            (Some("x.y.b.test"), 0),
            (Some("unknown.test"), 0),
            (None, 0),
        ] {
            assert_eq!(chosen(name), wanted, "{name:?}");
        }
    }
}
