//! The sinks of the process: records, and EMF lines.

use std::io;
use std::time::Duration;

use crate::cloudwatch::logs::LogsOutlet;
use crate::config::model::emf::{Emf, EmfSink};
use crate::config::model::{AccessSink, Model};
use crate::proxy::telling::{EmfLines, WorkerLines};
use crate::telemetry::outlet::Outlet;
use crate::telemetry::outlet::agent::{TcpAgent, UdpAgent};
use crate::telemetry::outlet::local::{Local, Output};
use crate::telemetry::sink::{Dropped, Lines, Sink};

use super::StartError;

/// How long the end of the process waits for a sink that stalls.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same for one that has to ask far away, and may have to introduce itself first.
const PATIENCE_WITH_AWS: Duration = Duration::from_secs(6);

/// Those that the configuration asks for.
#[derive(Debug)]
pub(super) struct Sinks {
    records: Option<Sink>,
    emf: Option<(Emf, Sink)>,
}

impl Sinks {
    /// Opens them.
    pub(super) fn open(model: &Model) -> Result<Sinks, StartError> {
        let records = open_records(&model.log.access)?;
        let emf = match &model.emf {
            None => None,
            Some(emf) => {
                let region = model.cloudwatch.region.as_deref();
                let sink = open_emf(&emf.sink, region).and_then(|outlet| Sink::start("EMF lines", outlet));
                let sink = sink.map_err(|error| StartError::Emf(emf.sink.to_string(), error))?;
                Some((emf.clone(), sink))
            }
        };
        Ok(Sinks { records, emf })
    }

    /// A worker's ends.
    pub(super) fn of_worker(&self) -> WorkerLines {
        WorkerLines {
            records: self.records.as_ref().map_or_else(Lines::off, Sink::lines),
            emf: self.emf.as_ref().and_then(|(emf, sink)| EmfLines::of(emf, sink.lines())),
        }
    }

    /// Another end for EMF lines.
    pub(super) fn emf_lines(&self) -> Option<Lines> {
        self.emf.as_ref().map(|(_, sink)| sink.lines())
    }

    /// What they drop, by their names in the measurements.
    pub(super) fn dropped(&self) -> Vec<(&'static str, Dropped)> {
        let records = self.records.as_ref().map(|sink| ("records", sink.dropped()));
        let emf = self.emf.as_ref().map(|(_, sink)| ("emf", sink.dropped()));
        [records, emf].into_iter().flatten().collect()
    }

    /// Writes what is left. When nobody has an end anymore.
    pub(super) fn close(self) {
        if let Some(sink) = self.records {
            sink.close(PATIENCE);
        }
        if let Some((emf, sink)) = self.emf {
            let is_far = matches!(emf.sink, EmfSink::Logs { .. });
            sink.close(if is_far { PATIENCE_WITH_AWS } else { PATIENCE });
        }
    }
}

fn open_records(access: &AccessSink) -> Result<Option<Sink>, StartError> {
    let (output, name) = match access {
        AccessSink::Off => return Ok(None),
        AccessSink::Stdout => (Output::Stdout, "standard output".to_owned()),
        AccessSink::Stderr => (Output::Stderr, "standard error".to_owned()),
        AccessSink::File(path) => (Output::File(path.clone()), path.display().to_string()),
    };
    let sink = Local::open(output).and_then(|outlet| Sink::start("records", Box::new(outlet)));
    sink.map(Some).map_err(|error| StartError::Records(name, error))
}

fn open_emf(sink: &EmfSink, region: Option<&str>) -> io::Result<Box<dyn Outlet>> {
    Ok(match sink {
        EmfSink::Stdout => Box::new(Local::open(Output::Stdout)?),
        EmfSink::File(path) => Box::new(Local::open(Output::File(path.clone()))?),
        EmfSink::Tcp(address) => Box::new(TcpAgent::new(address.clone())),
        EmfSink::Udp(address) => Box::new(UdpAgent::new(address.clone())),
        EmfSink::Logs { group, stream } => Box::new(LogsOutlet::new(group, stream.as_deref(), region)),
    })
}
