//! HTTP/2: streams of a few connections, each of which sends its next request when it has the answer to the last.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::task::JoinSet;

use crate::measure::cpu::CpuMeter;
use crate::trouble::{Fallible, Trouble};

use super::fleet::Target;
use super::requests::Requests;
use super::{Progress, Sample, measure};

/// As many requests as are answered in the time, over `streams` of each of `connections`.
pub(crate) async fn run_for(
    target: &Target,
    (connections, streams): (usize, usize),
    requests: &Requests,
    warm_up: Duration,
    measured: Duration,
    cpu: &CpuMeter,
) -> Fallible<Sample> {
    let progress = Rc::new(Progress::default());
    let mut workers = JoinSet::new();
    let mut driving = JoinSet::new();
    for _ in 0..connections {
        let stream = target.dial().await?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(16 << 20);
        let (send, connection) = builder.handshake::<_, Bytes>(stream).await.map_err(Trouble::new)?;
        driving.spawn_local(connection);
        for _ in 0..streams {
            let (send, requests, progress) = (send.clone(), requests.clone(), Rc::clone(&progress));
            workers.spawn_local(async move {
                let mut send = send;
                while !progress.stopped.get() {
                    send = exchange(send, &requests).await?;
                    progress.complete_one();
                }
                Ok(())
            });
        }
    }
    let (sample, _) = measure(workers, &progress, cpu, warm_up, measured).await?;
    Ok(sample)
}

async fn exchange(send: SendRequest<Bytes>, requests: &Requests) -> Fallible<SendRequest<Bytes>> {
    let mut send = send.ready().await.map_err(Trouble::new)?;
    let (answer, _) = send.send_request(requests.next_message(), true).map_err(Trouble::new)?;
    let (head, mut body) = answer.await.map_err(Trouble::new)?.into_parts();
    let mut received = 0;
    while let Some(data) = poll_fn(|cx| body.poll_data(cx)).await {
        let len = data.map_err(Trouble::new)?.len();
        received += len;
        body.flow_control().release_capacity(len).map_err(Trouble::new)?;
    }
    let expected = requests.expected();
    if head.status != 200 || received != expected.body_bytes {
        return Err(Trouble::new(format!("status {} and {received} bytes of body", head.status)));
    }
    if expected.request_id && !head.headers.contains_key("x-request-id") {
        return Err(Trouble::new("an answer has no request id"));
    }
    Ok(send)
}
