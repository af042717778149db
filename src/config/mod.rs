//! From a configuration file's text to a model that holds no bad state. Opens nothing.
//!
//! The way of a file: [`load_layers`] puts the texts one behind the other (`sources`), parses each into a tree that
//! knows its places and makes one tree of them (`layers`; `syntax` words the errors of the grammar), `reader` walks it
//! table by table and asks for keys of a kind (`values`, `units`, `interpolate`, `secret`), `listen`, `upstream`,
//! `routes`, `telling` and the others build the model's parts, and what is wrong on the way is gathered into one
//! [`Report`].

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
mod layers;
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
mod sources;
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

use model::{ListenAddress, Model, UpstreamAddress};
pub use origin::{Origin, Origins};
pub use print::{print, print_plain, quote};
use reader::Reader;
use report::{Finding, Place, Severity};
pub use report::{MAX_SHOWN, Report};
pub use routes::is_name;
use sources::Sources;
pub use sources::{Layer, Position};

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

/// Reads a configuration of one file; `file` is its name in messages.
pub fn load(
    text: &str,
    file: &str,
    env: &dyn Fn(&str) -> Option<String>,
    overrides: &Overrides,
) -> Result<Loaded, Report> {
    load_layers(&[Layer { file, bytes: text.as_bytes() }], env, overrides)
}

/// Reads a configuration of several files, of which later ones win key by key.
///
/// Without a file there is one with an empty text. The environment is asked through `env` for the variables the
/// texts name, and where they have a table `[emf]` for those of the AWS libraries for that format.
pub fn load_layers(
    layers: &[Layer<'_>],
    env: &dyn Fn(&str) -> Option<String>,
    overrides: &Overrides,
) -> Result<Loaded, Report> {
    let sources = Sources::of(layers);
    let mut parsed = layers::parse(&sources);
    if !parsed.structure_is_known {
        return Err(Report::new(&sources, &parsed.shown, parsed.findings));
    }
    let (root, below) = layers::merged(&mut parsed);
    let mut reader = Reader::new(&sources, below, env);
    let model = read(&mut reader, &root, overrides);
    let shown = secret::masked(&parsed.shown, &reader.secrets);
    let (mut findings, origins) = (reader.findings, reader.origins);
    drop_echoes(&sources, &parsed.findings, &mut findings);
    findings.extend(parsed.findings);
    let report = Report::new(&sources, &shown, findings);
    match model {
        Some(model) if report.errors() == 0 => Ok(Loaded { model, warnings: report, origins }),
        _ => Err(report),
    }
}

/// A report that these bytes are not UTF-8, which TOML must be; `None` when they are.
pub fn not_utf8(bytes: &[u8], file: &str) -> Option<Report> {
    let sources = Sources::of(&[Layer { file, bytes }]);
    let place = sources.files().first()?.not_utf8.clone()?;
    Some(Report::new(&sources, sources.text(), vec![layers::not_utf8(place)]))
}

/// Every key there is, by dotted path: `routes.match` for one of `[[routes]]`, `limits.*.rate` where the file
/// chooses the table's name.
pub fn keys() -> BTreeSet<String> {
    // A table whose name the file chooses is asked for its keys only when there is one.
    const TABLES: &str =
        "[[routes]]\n[limits.any.tiers.any]\n[[alerts.rules]]\n[[listen.tls.certificates]]\n";
    let sources = Sources::one("", TABLES);
    let (root, below) = layers::merged(&mut layers::parse(&sources));
    let mut reader = Reader::new(&sources, below, &|_| None);
    read(&mut reader, &root, &Overrides::default());
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
        let message = "`[upstream]` has the address tollgate listens on, so it would call itself".to_owned();
        let help = "write the address Gunicorn listens on, its `--bind`".to_owned();
        let note = reader.elsewhere(&place, "listen.address", "tollgate listens here");
        reader.find(Severity::Error, place, message, help, note);
    }
    if model.upstream.canary.as_ref().is_some_and(|canary| is_ours(&canary.address)) {
        let place = reader.span("upstream.canary.address").map_or(Place::File, Place::Bytes);
        let message =
            "`[upstream.canary]` has the address tollgate listens on, so it would call itself".to_owned();
        let help = "write the address the second version listens on, its `--bind`".to_owned();
        let note = reader.elsewhere(&place, "listen.address", "tollgate listens here");
        reader.find(Severity::Error, place, message, help, note);
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
fn drop_echoes(sources: &Sources, syntax: &[Finding], findings: &mut Vec<Finding>) {
    let line = |finding: &Finding| match &finding.place {
        Place::Bytes(span) => Some(sources.line_of_all(span.start)),
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
