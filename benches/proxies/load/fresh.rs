//! A new connection for every request: connect, ask, read to the end, connect again.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::measure::cpu::CpuMeter;
use crate::trouble::{Fallible, Trouble, io};

use super::fleet::{Connection, Target};
use super::requests::Requests;
use super::{Progress, Sample, measure, socket};

/// As many requests as are answered in the time, by `clients` at once.
pub(crate) async fn run_for(
    target: &Target,
    clients: usize,
    requests: &Requests,
    warm_up: Duration,
    measured: Duration,
    cpu: &CpuMeter,
) -> Fallible<Sample> {
    let progress = Rc::new(Progress::default());
    let mut workers = JoinSet::new();
    for _ in 0..clients {
        let (requests, target) = (requests.clone(), target.clone());
        let progress = Rc::clone(&progress);
        workers.spawn_local(async move {
            while !progress.stopped.get() {
                whole_connection(&target, &requests).await?;
                progress.complete_one();
            }
            Ok(())
        });
    }
    let (sample, _) = measure(workers, &progress, cpu, warm_up, measured).await?;
    Ok(sample)
}

async fn whole_connection(target: &Target, requests: &Requests) -> Fallible<()> {
    let mut connection = Connection::open(target, requests).await?;
    connection.exchange(requests).await?;
    let (mut stream, _) = connection.into_parts();
    let after =
        socket::read(&mut stream, <[u8]>::len).await.map_err(io("cannot read the end of a connection"))?;
    if after > 0 {
        return Err(Trouble::new("bytes follow the last answer of a connection"));
    }
    Ok(())
}
