//! From a configuration file's text to a model that holds no bad state. Opens nothing.
//!
//! The way of a file: [`load`] parses the text into a tree that knows its places (`syntax` words the
//! errors of the grammar), `reader` walks it table by table and asks for keys of a kind (`values`,
//! `units`, `interpolate`, `secret`), `listen`, `upstream`, `routes`, `telling` and the others build the model's
//! parts, and what is wrong on the way is gathered into one [`Report`].

mod address;
mod admin;
mod alerts;
mod cloudwatch;
pub mod diff;
mod emf;
mod excerpt;
mod fields;
mod handling;
mod identity;
mod interpolate;
pub mod keys;
mod limiting;
mod limits;
mod listen;
mod metrics;
pub mod model;
mod origin;
mod print;
mod reader;
mod report;
mod routes;
mod secret;
mod store;
mod suggest;
mod syntax;
mod table;
mod telling;
mod tls;
pub mod units;
mod upstream;
mod values;

use std::collections::BTreeSet;
use std::net::IpAddr;

use toml::de::DeTable;

use excerpt::Lines;
use model::{ListenAddress, Model, UpstreamAddress};
pub use origin::{Origin, Origins};
pub use print::{print, print_plain};
use reader::Reader;
use report::{Finding, Place, Severity};
pub use report::{MAX_SHOWN, Report};
pub use routes::is_name;

/// What the command line sets; it goes before the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--listen`, instead of all addresses of the file.
    pub listen: Vec<String>,
    /// `--upstream`.
    pub upstream: Option<String>,
}

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub model: Model,
    /// What is legal but unwise; may be empty.
    pub warnings: Report,
    /// Where each value comes from.
    pub origins: Origins,
}

/// Reads a configuration; `file` is its name in messages.
///
/// Without a file the text is empty. The environment is asked through `env` for the variables the
/// text names, and where it has a table `[emf]` for those of the AWS libraries for that format.
pub fn load(
    text: &str,
    file: &str,
    env: &dyn Fn(&str) -> Option<String>,
    overrides: &Overrides,
) -> Result<Loaded, Report> {
    let (root, errors) = DeTable::parse_recoverable(text);
    let suspects = if errors.is_empty() { Vec::new() } else { secret::suspects(text) };
    let shown = secret::masked(text, &suspects);
    let syntax = syntax::findings(&shown, &errors);
    if !syntax.structure_is_known {
        return Err(Report::new(file, &shown, syntax.findings));
    }
    let mut reader = Reader::new(text, env);
    let model = read(&mut reader, root.get_ref(), overrides);
    let shown = secret::masked(&shown, &reader.secrets);
    let (mut findings, origins, lines) = (reader.findings, reader.origins, reader.lines);
    drop_echoes(&lines, &syntax.findings, &mut findings);
    findings.extend(syntax.findings);
    let report = Report::new(file, &shown, findings);
    match model {
        Some(model) if report.errors() == 0 => Ok(Loaded { model, warnings: report, origins }),
        _ => Err(report),
    }
}

/// A report that these bytes are not UTF-8, which TOML must be; `None` when they are.
pub fn not_utf8(bytes: &[u8], file: &str) -> Option<Report> {
    let error = std::str::from_utf8(bytes).err()?;
    let at = error.valid_up_to();
    // Each wrong byte becomes one replacement character, behind text that is unchanged.
    let text = String::from_utf8_lossy(bytes);
    let finding = Finding {
        severity: Severity::Error,
        place: Place::Bytes(at..at + '\u{fffd}'.len_utf8()),
        message: "the file is not UTF-8".to_owned(),
        help: "save it in UTF-8; this byte belongs to no character".to_owned(),
        note: None,
    };
    Some(Report::new(file, &text, vec![finding]))
}

/// Every key there is, by dotted path: `routes.match` for one of `[[routes]]`, `limits.*.rate` where the file
/// chooses the table's name.
pub fn keys() -> BTreeSet<String> {
    // A table whose name the file chooses is asked for its keys only when there is one.
    const TABLES: &str =
        "[[routes]]\n[limits.any.tiers.any]\n[[alerts.rules]]\n[[listen.tls.certificates]]\n";
    let (root, _) = DeTable::parse_recoverable(TABLES);
    let mut reader = Reader::new(TABLES, &|_| None);
    read(&mut reader, root.get_ref(), &Overrides::default());
    reader.known()
}

fn read<'d>(reader: &mut Reader<'d>, root: &'d DeTable<'d>, overrides: &Overrides) -> Option<Model> {
    let listen = listen::read(reader.table(root, "listen"), &overrides.listen);
    let upstream = upstream::read(reader.table(root, "upstream"), overrides.upstream.as_deref());
    let request_id = telling::read_request_id(reader.table(root, "request_id"));
    let knows_clients = listen.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    let identity = identity::read(reader.table(root, "identity"), &request_id.header, knows_clients);
    let drafts = limits::read(reader, root);
    let limiting = limiting::read(reader.table(root, "limiting"));
    let (routes, of_routes) = routes::read(reader, root, listen.max_body, upstream.spill_by_default());
    let limits = limits::apply(reader, drafts, limiting, of_routes, limits::Verified::by(&identity));
    let store = store::read(reader.table(root, "store"));
    let log = telling::read_log(reader.table(root, "log"), &identity);
    let errors = telling::read_errors(reader.table(root, "errors"));
    let emf = emf::read(reader, root, &log);
    let metrics = metrics::read(reader.table(root, "metrics"), &routes, &request_id.header);
    let cloudwatch = cloudwatch::read(reader.table(root, "cloudwatch"));
    let taken: Vec<ListenAddress> = listen.all_addresses().cloned().collect();
    let admin = admin::read(reader, root, &taken, upstream.address());
    let upstream = upstream.settle(reader, &listen, &routes);
    let alerts = alerts::read(reader, root, &routes);
    let tables = [
        "listen",
        "upstream",
        "request_id",
        "identity",
        "limits",
        "limiting",
        "routes",
        "store",
        "log",
        "errors",
        "emf",
        "metrics",
        "cloudwatch",
        "admin",
        "alerts",
    ];
    reader.refuse_unknown(root, &tables, "");
    let model = Model {
        identity,
        listen,
        upstream: upstream?,
        request_id,
        limits,
        routes,
        store,
        log,
        emf,
        metrics,
        cloudwatch,
        admin,
        alerts,
        errors,
    };
    refuse_loop(reader, &model);
    Some(model)
}

/// An app, or a canary, that is tollgate itself.
fn refuse_loop(reader: &mut Reader<'_>, model: &Model) {
    let is_ours = |app: &UpstreamAddress| model.listen.all_addresses().any(|address| is_same(address, app));
    if is_ours(&model.upstream.address) {
        let place = match (reader.origins.get("upstream.address"), reader.span("upstream.address")) {
            (Origin::CommandLine { .. }, _) | (_, None) => Place::CommandLine,
            (_, Some(span)) => Place::Bytes(span),
        };
        reader.error(
            place,
            "`[upstream]` has the address tollgate listens on, so it would call itself",
            "write the address Gunicorn listens on, its `--bind`",
        );
    }
    if model.upstream.canary.as_ref().is_some_and(|canary| is_ours(&canary.address)) {
        let place = reader.span("upstream.canary.address").map_or(Place::File, Place::Bytes);
        reader.error(
            place,
            "`[upstream.canary]` has the address tollgate listens on, so it would call itself",
            "write the address the second version listens on, its `--bind`",
        );
    }
}

fn is_same(listen: &ListenAddress, upstream: &UpstreamAddress) -> bool {
    match (listen, upstream) {
        (ListenAddress::Unix(ours), UpstreamAddress::Unix(theirs)) => ours == theirs,
        (ListenAddress::Tcp(ours), UpstreamAddress::Tcp { host, port, .. }) => {
            let local = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
            let same_host = match host.parse::<IpAddr>() {
                Ok(ip) => ip == ours.ip() || (ours.ip().is_unspecified() && local(ip)),
                Err(_) => host == "localhost" && local(ours.ip()),
            };
            same_host && ours.port() == *port
        }
        _ => false,
    }
}

/// Removes what was only found because a value on the same line could not be read.
fn drop_echoes(lines: &Lines, syntax: &[Finding], findings: &mut Vec<Finding>) {
    let line = |finding: &Finding| match &finding.place {
        Place::Bytes(span) => Some(lines.number(span.start)),
        _ => None,
    };
    if syntax.is_empty() {
        return;
    }
    let broken: BTreeSet<usize> = syntax.iter().filter_map(line).collect();
    findings.retain(|finding| line(finding).is_none_or(|line| !broken.contains(&line)));
}

#[cfg(test)]
mod tests;
