//! Connections that are kept: each sends its next request when the answer to the last is complete.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::measure::cpu::CpuMeter;
use crate::trouble::{Fallible, io};

use super::answer::Answer;
use super::requests::Requests;
use super::tls::{Dialer, Stream};
use super::{Progress, Sample, all, measure, socket};

/// Where connections go, and how.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// With TLS.
    pub(crate) dialer: Option<Dialer>,
}

impl Target {
    pub(crate) async fn dial(&self) -> Fallible<Stream> {
        let address = self.address;
        let stream = socket::connect(address).await.map_err(io(format!("cannot connect to {address}")))?;
        match &self.dialer {
            None => Ok(Stream::Plain(stream)),
            Some(dialer) => dialer.greet(stream).await.map_err(io("cannot agree on TLS")),
        }
    }
}

/// One kept connection.
pub(crate) struct Connection {
    stream: Stream,
    answer: Answer,
}

impl Connection {
    pub(crate) async fn open(target: &Target, requests: &Requests) -> Fallible<Self> {
        let stream = target.dial().await?;
        let answer = Answer::new(requests.expected());
        Ok(Self { stream, answer })
    }

    /// One request and its whole answer.
    pub(crate) async fn exchange(&mut self, requests: &Requests) -> Fallible<()> {
        socket::write(&mut self.stream, requests.next_head(), requests.body())
            .await
            .map_err(io("cannot send a request"))?;
        let answer = &mut self.answer;
        loop {
            let complete = socket::read(&mut self.stream, |bytes| answer.feed(bytes))
                .await
                .map_err(io("cannot read an answer"))??;
            if complete {
                return Ok(());
            }
        }
    }

    pub(crate) fn into_parts(self) -> (Stream, Answer) {
        (self.stream, self.answer)
    }
}

/// Connections to one proxy.
pub(crate) struct Fleet {
    connections: Vec<Connection>,
    requests: Requests,
}

/// So many connections are opened at once: more would make the proxy open as many upstream.
const OPENED_AT_ONCE: usize = 32;

impl Fleet {
    /// Opens connections, each of which has served one request when this returns.
    pub(crate) async fn open(target: &Target, size: usize, requests: Requests) -> Fallible<Self> {
        let mut connections = Vec::with_capacity(size);
        while connections.len() < size {
            let mut opening = JoinSet::new();
            for _ in 0..OPENED_AT_ONCE.min(size - connections.len()) {
                let (requests, target) = (requests.clone(), target.clone());
                opening.spawn_local(async move {
                    let mut connection = Connection::open(&target, &requests).await?;
                    connection.exchange(&requests).await?;
                    Ok(connection)
                });
            }
            connections.extend(all(opening).await?);
        }
        Ok(Self { connections, requests })
    }

    /// As many requests as are answered in the time.
    pub(crate) async fn run_for(
        &mut self,
        warm_up: Duration,
        measured: Duration,
        cpu: &CpuMeter,
    ) -> Fallible<Sample> {
        let progress = Rc::new(Progress::default());
        let mut workers = JoinSet::new();
        for mut connection in self.connections.drain(..) {
            let requests = self.requests.clone();
            let progress = Rc::clone(&progress);
            workers.spawn_local(async move {
                while !progress.stopped.get() {
                    connection.exchange(&requests).await?;
                    progress.complete_one();
                }
                Ok(connection)
            });
        }
        let (sample, connections) = measure(workers, &progress, cpu, warm_up, measured).await?;
        self.connections = connections;
        Ok(sample)
    }

    /// Exactly `count` requests, over all connections.
    pub(crate) async fn run_count(&mut self, count: u64) -> Fallible<()> {
        let left = Rc::new(Cell::new(count));
        let mut workers = JoinSet::new();
        for mut connection in self.connections.drain(..) {
            let requests = self.requests.clone();
            let left = Rc::clone(&left);
            workers.spawn_local(async move {
                while left.get() > 0 {
                    left.set(left.get() - 1);
                    connection.exchange(&requests).await?;
                }
                Ok(connection)
            });
        }
        self.connections = all(workers).await?;
        Ok(())
    }

    /// One request on each connection, one after the other: shows that all of them still live.
    pub(crate) async fn run_each_once(&mut self) -> Fallible<()> {
        for connection in &mut self.connections {
            connection.exchange(&self.requests).await?;
        }
        Ok(())
    }

    pub(crate) fn into_connections(self) -> (Vec<Connection>, Requests) {
        (self.connections, self.requests)
    }
}
