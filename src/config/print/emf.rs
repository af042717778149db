//! `[emf]` as a file.

use super::super::model::emf::{Emf, EmfPer};
use super::super::units::duration_text;
use super::{Printer, list, quote};

pub(super) fn print(printer: &mut Printer<'_>, emf: Option<&Emf>) {
    // A table would turn it on.
    let Some(emf) = emf else { return };
    printer.table("[emf]", "emf");
    printer.text("sink", &emf.sink.to_string());
    printer.text("namespace", &emf.namespace);
    printer.text("service", &emf.service);
    printer.text("environment", &emf.environment);
    let per = match emf.per {
        EmfPer::Request => "request".to_owned(),
        EmfPer::Interval(interval) => duration_text(interval),
    };
    printer.text("per", &per);
    let set = |set: &Vec<_>| {
        list(
            set.iter()
                .map(|dimension: &super::super::model::emf::Dimension| quote(dimension.as_str()))
                .collect(),
        )
    };
    printer.key("dimensions", list(emf.dimensions.iter().map(set).collect()));
    printer.key("validate", emf.validate);
    if !emf.extraction {
        let origin = printer.origins.get("emf.extraction");
        printer.out.push_str(&format!("# lines ask for no metrics  # {origin}\n"));
    }
    printer.optional("log_group", emf.log_group.as_deref());
    printer.optional("log_stream", emf.log_stream.as_deref());
}
