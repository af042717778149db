//! `[listen.tls]` and `[upstream.tls]`: raw values to what is served, and asked, over TLS.
//!
//! Invariant: a certificate has a key, and no address is both plain and TLS. No file is opened here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::listen::{is_same_listener, parse_addresses, warn};
use super::model::tls::{CertificateFiles, ClientCa, ListenTls, TlsVersion, UpstreamTls};
use super::model::{ListenAddress, UpstreamAddress};
use super::origin::Origin;
use super::reader::Reader;
use super::report::{Place, shown};
use super::table::Table;

pub(crate) const MIN_VERSIONS: [(&str, TlsVersion); 2] =
    [("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];
/// Whether a client without a certificate is refused.
pub(crate) const CLIENT_AUTH: [(&str, bool); 2] = [("require", true), ("request", false)];

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const EXAMPLE: &str = "address = \"0.0.0.0:8443\"";

/// Reads `[listen.tls]`; `None` if there is no such table, or nothing of use in it.
pub(crate) fn read_listen(mut table: Table<'_, '_>, plain: &[ListenAddress]) -> Option<ListenTls> {
    let is_there = table.is_there();
    let addresses = addresses(&mut table, plain);
    let mut certificates: Vec<CertificateFiles> = pair(&mut table, "[listen.tls]").into_iter().collect();
    further(&mut table, &mut certificates);
    let http2 = table.switch("http2", true);
    let client_ca = client_ca(&mut table);
    let min_version = table.choice("min_version", &MIN_VERSIONS, TlsVersion::V1_2);
    let allowed = Duration::from_secs(1)..=Duration::from_secs(300);
    let handshake_timeout = table.duration_within("handshake_timeout", HANDSHAKE_TIMEOUT, allowed);
    let place = table.place().map_or(Place::File, Place::Bytes);
    if is_there && !table.has("address") {
        let help = format!("say where TLS is spoken, `{EXAMPLE}`; it has addresses of its own");
        table.reader.error(place.clone(), "`address` of `[listen.tls]` is missing", help);
    }
    let is_named = ["certificate", "private_key"].iter().any(|key| table.has(key));
    if is_there && certificates.is_empty() && !is_named && !table.has_list("certificates") {
        let help = "name the chain and its key, `certificate = \"/etc/tollgate/fullchain.pem\"` and `private_key = \"/etc/tollgate/privkey.pem\"`";
        table.reader.error(place, "`certificate` of `[listen.tls]` is missing", help);
    }
    table.finish();
    let settings = || ListenTls {
        addresses: addresses.unwrap_or_default(),
        certificates,
        http2,
        client_ca,
        min_version,
        handshake_timeout,
    };
    is_there.then(settings)
}

fn addresses(table: &mut Table<'_, '_>, plain: &[ListenAddress]) -> Option<Vec<ListenAddress>> {
    let texts = table.strings("address", "an address or a list of addresses")?;
    if texts.is_empty()
        && let Some(span) = table.span("address")
        && !table.reader.has_error_in(&span)
    {
        let help = format!("write `{EXAMPLE}`, or remove the table");
        table.reader.error(Place::Bytes(span), "`address` must hold at least one address", help);
    }
    let addresses = parse_addresses(table.reader, "`address`", &texts);
    let place = |reader: &Reader<'_>, text: Option<&super::reader::Text>| {
        let whole = reader.span("listen.tls.address").map_or(Place::File, Place::Bytes);
        text.map_or(whole, |text| text.place.clone())
    };
    for address in &addresses {
        let text = texts.iter().find(|text| text.text == address.to_string());
        let (message, help) = match address {
            ListenAddress::Unix(_) => (
                format!("`address` of `[listen.tls]` must be an IP address and a port, found `{address}`"),
                "who connects to a Unix socket is on this host: add it to `[listen] address`",
            ),
            _ if plain.iter().any(|plain| is_same_listener(plain, address)) => (
                format!("`{address}` is an address of `[listen]` already, for plain HTTP"),
                "TLS needs a port of its own, for example 8443",
            ),
            ListenAddress::Tcp(_) | ListenAddress::Passed(_) => continue,
        };
        let place = place(table.reader, text);
        table.reader.error(place, message, help);
    }
    Some(addresses)
}

/// `certificate` and `private_key` of a table; half of a pair is an error.
fn pair(table: &mut Table<'_, '_>, name: &str) -> Option<CertificateFiles> {
    let certificate = path(table, "certificate", "/etc/tollgate/fullchain.pem");
    let private_key = path(table, "private_key", "/etc/tollgate/privkey.pem");
    let halves = [("certificate", "private_key"), ("private_key", "certificate")];
    for (there, missing) in halves {
        if let Some(span) = table.span(there)
            && !table.has(missing)
        {
            let message = format!("`{there}` of `{name}` has no `{missing}` to go with");
            let help = "a chain of certificates and the key of its first go together: name both files";
            table.reader.error(Place::Bytes(span), message, help);
        }
    }
    Some(CertificateFiles { certificate: certificate?, private_key: private_key? })
}

/// `certificates`, each a pair of its own.
fn further(table: &mut Table<'_, '_>, certificates: &mut Vec<CertificateFiles>) {
    const NAME: &str = "[[listen.tls.certificates]]";
    let entries = table.list("certificates", "listen.tls.certificates", "a certificate");
    if let Some((_, first)) = entries.first() {
        let at = table.reader.position(first.start);
        table.reader.origins.set("listen.tls.certificates".to_owned(), Origin::File { at });
    }
    for (index, (entry, place)) in entries.into_iter().enumerate() {
        let path = format!("listen.tls.certificates.{index}");
        let mut one = Table::new(table.reader, path, "listen.tls.certificates", Some(entry));
        let files = pair(&mut one, NAME);
        let is_empty = !one.has("certificate") && !one.has("private_key");
        if is_empty {
            let help = "name the chain and its key";
            one.reader.error(
                Place::Bytes(place.clone()),
                "a certificate needs `certificate` and `private_key`",
                help,
            );
        }
        one.finish();
        let Some(files) = files else { continue };
        if certificates.iter().any(|known| known.certificate == files.certificate) {
            let message = format!("`{}` is there twice", files.certificate.display());
            table.reader.error(Place::Bytes(place), message, "remove one of them");
            continue;
        }
        certificates.push(files);
    }
}

fn client_ca(table: &mut Table<'_, '_>) -> Option<ClientCa> {
    let path = path(table, "client_ca", "/etc/tollgate/clients.pem");
    let is_required = table.choice("client_auth", &CLIENT_AUTH, true);
    if path.is_none()
        && !table.has("client_ca")
        && let Some(span) = table.span("client_auth")
    {
        let help = "name the authorities whose clients are known, `client_ca = \"/etc/tollgate/clients.pem\"`, or remove it";
        table.reader.error(Place::Bytes(span), "`client_auth` has no `client_ca` to go with", help);
    }
    path.map(|path| ClientCa { path, is_required })
}

/// A path that is written with its directory. What is pasted in place of one may be a key, and is not shown.
fn path(table: &mut Table<'_, '_>, key: &'static str, example: &str) -> Option<PathBuf> {
    table.hide_pem(key);
    let text = table.string(key, "the path of a file")?;
    let path = text.text.as_str();
    if path.contains("-----BEGIN") {
        let message = format!("`{key}` must be the path of a file, found what belongs into one");
        table.reader.error(
            text.place,
            message,
            format!("write it to a file and name that, `{key} = \"{example}\"`"),
        );
        return None;
    }
    if !path.contains('/') || path.ends_with('/') || path.contains('\0') {
        let message = format!("`{key}` must be the path of a file, found `{}`", shown(path));
        table.reader.error(text.place, message, format!("a file is written with its directory: `{example}`"));
        return None;
    }
    Some(PathBuf::from(path))
}

/// Reads `[upstream.tls]`; `apps` are the addresses it is for.
pub(crate) fn read_upstream(mut table: Table<'_, '_>, apps: &[&UpstreamAddress]) -> UpstreamTls {
    let ca = path(&mut table, "ca", "/etc/tollgate/app-ca.pem");
    let server_name = server_name(&mut table);
    let client = pair(&mut table, "[upstream.tls]");
    let is_used = apps.iter().any(|app| matches!(app, UpstreamAddress::Tcp { tls: true, .. }));
    if table.is_there()
        && !is_used
        && !apps.is_empty()
        && let Some(place) = table.place()
    {
        let help = "write the address with its scheme, `address = \"https://app:8443\"`, or remove the table";
        table.reader.error(
            Place::Bytes(place),
            "`[upstream.tls]` is there, and no app has an address with `https://`",
            help,
        );
    }
    let is_unnamed = apps.iter().any(|app| match app {
        UpstreamAddress::Tcp { host, tls: true, .. } => host.parse::<std::net::IpAddr>().is_ok(),
        _ => false,
    });
    if is_unnamed && server_name.is_none() && !table.has("server_name") {
        let message = "the app has an address without a name: its certificate must be for that number";
        let help =
            "write the name in its certificate, `server_name = \"app.internal\"` below `[upstream.tls]`";
        warn(table.reader, "upstream.address", message.to_owned(), help.to_owned());
    }
    table.finish();
    UpstreamTls { ca, server_name, client }
}

fn server_name(table: &mut Table<'_, '_>) -> Option<Arc<str>> {
    let text = table.string("server_name", "a host name")?;
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let name = text.text.as_str();
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    if !is_address && (name.len() > 253 || !name.split('.').all(label)) {
        let message = format!("`server_name` must be a host name, found `{}`", shown(name));
        table.reader.error(
            text.place,
            message,
            "write the name that stands in the app's certificate, for example `app.internal`",
        );
        return None;
    }
    Some(name.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Loaded, Overrides, Report, load};

    const PAIR: &str = "certificate = \"/a/chain.pem\"\nprivate_key = \"/a/key.pem\"\n";

    fn read(text: &str) -> Result<Loaded, Report> {
        let text = match text.contains("[upstream]") {
            true => text.to_owned(),
            false => format!("[upstream]\naddress = \"app:80\"\n{text}"),
        };
        load(&text, "file", &|_| None, &Overrides::default())
    }

    fn listen_tls(text: &str) -> Option<ListenTls> {
        read(text).unwrap_or_else(|report| panic!("{}", report.render(false))).model.listen.tls
    }

    #[test]
    fn without_a_table_there_is_no_tls() {
        assert_eq!(listen_tls(""), None);
    }

    #[test]
    fn the_first_certificate_is_the_default_wherever_it_stands() {
        let files = |name: &str| CertificateFiles {
            certificate: format!("/a/{name}.pem").into(),
            private_key: format!("/a/{name}.key").into(),
        };
        let entry =
            |name: &str| format!("{{ certificate = \"/a/{name}.pem\", private_key = \"/a/{name}.key\" }}");
        let head = "[listen.tls]\naddress = \"127.0.0.1:8443\"\n";
        let one = listen_tls(&format!("{head}certificates = [{}, {}]", entry("a"), entry("b"))).unwrap();
        assert_eq!(one.certificates, [files("a"), files("b")]);
        let own = "certificate = \"/a/a.pem\"\nprivate_key = \"/a/a.key\"\n";
        let other = listen_tls(&format!("{head}{own}certificates = [{}]", entry("b"))).unwrap();
        assert_eq!(other, one);
        assert!(one.http2 && one.client_ca.is_none() && one.min_version == TlsVersion::V1_2);
    }

    #[test]
    fn a_table_needs_an_address_a_certificate_and_its_key() {
        for text in [
            "[listen.tls]\n",
            "[listen.tls]\naddress = \"127.0.0.1:8443\"\n",
            &format!("[listen.tls]\n{PAIR}"),
            &format!("[listen.tls]\naddress = []\n{PAIR}"),
            "[listen.tls]\naddress = \"127.0.0.1:8443\"\ncertificate = \"/a/b\"\n",
            "[listen.tls]\naddress = \"127.0.0.1:8443\"\ncertificates = [{}]\n",
            "[listen.tls]\naddress = \"127.0.0.1:8443\"\ncertificates = [{ certificate = \"/a/b\" }]\n",
            &format!("[listen.tls]\naddress = \"unix:/run/a.sock\"\n{PAIR}"),
            &format!("[listen.tls]\naddress = \"127.0.0.1:8080\"\n{PAIR}"),
            &format!("[listen.tls]\naddress = \"127.0.0.1:8443\"\n{PAIR}client_auth = \"request\"\n"),
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_in_place_of_a_path_is_in_no_report() {
        for text in [
            "[listen.tls]\nprivate_key = \"-----BEGIN PRIVATE KEY----- c2VjcmV0\"\n",
            "[listen.tls]\nprivate_key = \"\"\"\n-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n\"\"\"\n",
            "[listen.tls]\nprivat_key = \"\"\"\n-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n\"\"\"\n",
            "[upstream.tls]\nprivate_key = [\"-----BEGIN PRIVATE KEY----- c2VjcmV0\"]\n",
        ] {
            let report = read(text).unwrap_err();
            let told = format!("{}{}{report:?}", report.render(false), report.lines().concat());
            assert!(!told.contains("c2Vjcm"), "{told}");
        }
    }

    #[test]
    fn an_app_is_spoken_with_over_tls_where_its_address_says_so() {
        let text = "[upstream]\naddress = \"https://app:8443\"\n[upstream.tls]\nca = \"/a/ca.pem\"\nserver_name = \"app.internal\"\n";
        let upstream = read(text).unwrap().model.upstream;
        assert_eq!(upstream.address.to_string(), "https://app:8443");
        assert_eq!(upstream.tls.server_name.as_deref(), Some("app.internal"));
        assert!(read("[upstream]\naddress = \"app:80\"\n[upstream.tls]\nca = \"/a/ca.pem\"\n").is_err());
        assert!(!read("[upstream]\naddress = \"https://10.0.0.1:443\"\n").unwrap().warnings.is_empty());
    }
}
