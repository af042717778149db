//! `[listen.tls]` and `[upstream.tls]` as a file.

use super::super::model::tls::{CertificateFiles, ListenTls, UpstreamTls};
use super::super::tls::{CLIENT_AUTH, MIN_VERSIONS};
use super::super::units::duration_text;
use super::{Printer, list, name_of, one_or_list, quote};

pub(super) fn print_listen(printer: &mut Printer<'_>, tls: Option<&ListenTls>) {
    let Some(tls) = tls else { return };
    printer.table("[listen.tls]", "listen.tls");
    let addresses = tls.addresses.iter().map(|address| quote(&address.to_string()));
    printer.key("address", one_or_list(addresses.collect()));
    if let Some((first, others)) = tls.certificates.split_first() {
        print_pair(printer, first);
        let entry = |files: &CertificateFiles| {
            let [certificate, private_key] = [&files.certificate, &files.private_key];
            let [certificate, private_key] =
                [certificate, private_key].map(|path| quote(&path.display().to_string()));
            format!("{{ certificate = {certificate}, private_key = {private_key} }}")
        };
        match others {
            [] => printer.unset("certificates"),
            others => printer.key("certificates", list(others.iter().map(entry).collect())),
        }
    }
    printer.key("http2", tls.http2);
    match &tls.client_ca {
        Some(ca) => {
            printer.text("client_ca", &ca.path.display().to_string());
            printer.text("client_auth", name_of(&CLIENT_AUTH, ca.is_required));
        }
        None => printer.unset("client_ca"),
    }
    printer.text("min_version", name_of(&MIN_VERSIONS, tls.min_version));
    printer.text("handshake_timeout", &duration_text(tls.handshake_timeout));
}

pub(super) fn print_upstream(printer: &mut Printer<'_>, tls: &UpstreamTls) {
    if *tls == UpstreamTls::default() {
        return;
    }
    printer.table("[upstream.tls]", "upstream.tls");
    let ca = tls.ca.as_ref().map(|path| path.display().to_string());
    printer.optional("ca", ca.as_deref());
    printer.optional("server_name", tls.server_name.as_deref());
    if let Some(client) = &tls.client {
        print_pair(printer, client);
    }
}

fn print_pair(printer: &mut Printer<'_>, files: &CertificateFiles) {
    printer.text("certificate", &files.certificate.display().to_string());
    printer.text("private_key", &files.private_key.display().to_string());
}
