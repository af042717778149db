//! The lines a worker writes of exchanges that have ended: records, and EMF lines where each exchange has one.

use crate::config::model::emf::{Emf, EmfPer};
use crate::telemetry::access_line::AccessLine;
use crate::telemetry::emf::check::check;
use crate::telemetry::record::Record;
use crate::telemetry::series::{Ended, WorkerSeries};
use crate::telemetry::sink::Lines;

use super::measure::{OfRoute, Series};

/// A worker's ends of the sinks.
#[derive(Debug)]
pub struct WorkerLines {
    /// Of records.
    pub records: Lines,
    /// Of EMF lines, where each exchange has one.
    pub emf: Option<EmfLines>,
}

/// A worker's end of the sink of EMF lines.
#[derive(Debug)]
pub struct EmfLines {
    lines: Lines,
    validate: bool,
    checked: Vec<u8>,
}

impl EmfLines {
    /// `None` if exchanges have no lines of their own.
    pub fn of(emf: &Emf, lines: Lines) -> Option<EmfLines> {
        (emf.per == EmfPer::Request).then(|| EmfLines { lines, validate: emf.validate, checked: Vec::new() })
    }

    fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>), worker: &WorkerSeries) {
        if !self.validate {
            return self.lines.push(encode);
        }
        self.checked.clear();
        encode(&mut self.checked);
        match check(&self.checked) {
            Ok(()) => self.lines.push(|out| out.extend_from_slice(&self.checked)),
            Err(problems) => {
                if worker.invalid_emf_lines.get() == 0 {
                    tracing::warn!(
                        problem = problems[0],
                        "CloudWatch would not take an EMF line, it is kept back"
                    );
                }
                worker.invalid_emf_lines.add(1);
            }
        }
    }
}

/// What writes them.
#[derive(Debug)]
pub struct Telling {
    line: AccessLine,
    lines: WorkerLines,
    /// The fields of one record, where two lines have them.
    fields: Vec<u8>,
}

impl Telling {
    /// To these ends.
    pub fn new(lines: WorkerLines) -> Telling {
        Telling { line: AccessLine::default(), lines, fields: Vec::new() }
    }

    /// Writes the record alone.
    pub fn record(&mut self, record: &Record<'_>) {
        let line = &mut self.line;
        self.lines.records.push(|out| line.encode(record, out));
    }

    /// Writes the record, and the EMF line if exchanges have one.
    pub fn tell(
        &mut self,
        record: &Record<'_>,
        ended: &Ended<'_>,
        of: &Series,
        route: &OfRoute,
        worker: &WorkerSeries,
    ) {
        let (Some(emf), Some(template)) = (&mut self.lines.emf, &of.emf) else {
            return self.record(record);
        };
        let fields = &mut self.fields;
        fields.clear();
        self.line.fields(record, fields);
        self.lines.records.push(|out| {
            out.push(b'{');
            out.extend_from_slice(fields);
            out.extend_from_slice(b"}\n");
        });
        let encode = |out: &mut Vec<u8>| {
            let properties = |out: &mut Vec<u8>| out.extend_from_slice(fields);
            // When it was counted, as all mouths tell it: a long exchange would come too late for its own beginning.
            let unix_nanos = record.unix_nanos.saturating_add(ended.duration_nanos);
            template.exchange(unix_nanos, &route.dimensions, ended, properties, out);
        };
        emf.push(encode, worker);
    }

    /// Hands over what there is.
    pub fn flush(&mut self) {
        self.lines.records.flush();
        if let Some(emf) = &mut self.lines.emf {
            emf.lines.flush();
        }
    }
}
