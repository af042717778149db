//! A client that leaves, wherever the exchange stands: one record, and nothing kept of the connection.

use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use super::echoing;
use crate::harness::client::get;
use crate::harness::{Client, Origin, Setup, Tollgate};

/// More than the kernel takes for a client that does not read.
const LARGE: usize = 4 << 20;

/// Answers with [`LARGE`] bytes, and tells when tollgate has the last of them.
fn large() -> (Origin, Receiver<()>) {
    let (taken, all_taken) = mpsc::channel();
    let taken = Mutex::new(taken);
    let origin = Origin::start(move |mut peer| {
        peer.expect_request();
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {LARGE}\r\n\r\n");
        peer.send([head.as_bytes(), &vec![b'x'; LARGE]].concat());
        peer.wait_for_end();
        taken.lock().unwrap().send(()).unwrap();
    });
    (origin, all_taken)
}

/// Reads only while tollgate can take no more, so that in the end it has what the kernel has not.
fn stop_short_of_the_end(client: &mut Client, all_taken: &Receiver<()>) {
    client.wire().socket().narrow();
    client.send(get("/"));
    while all_taken.recv_timeout(Duration::from_millis(5)).is_err() {
        client.wire().read_more().unwrap();
    }
}

#[test]
fn a_client_that_leaves_with_the_last_bytes_unread_has_its_record() {
    let (origin, all_taken) = large();
    let tollgate = Tollgate::before(origin.address());
    for round in 0..6 {
        let mut client = tollgate.client();
        stop_short_of_the_end(&mut client, &all_taken);
        match round % 3 {
            0 => client.reset(),
            1 => drop(client),
            _ => {
                client.finish_sending();
                let _ = client.wire().rest();
            }
        }
        tollgate.wait_for_records(round + 1);
    }
    assert_eq!(tollgate.final_records().len(), 6);
}

#[test]
fn an_answer_that_is_not_sent_when_the_drain_ends_has_its_record() {
    let (origin, all_taken) = large();
    let mut tollgate = Setup::before(origin.address()).listen("drain_timeout = \"300ms\"").start();
    let clients: Vec<Client> = (0..6)
        .map(|_| {
            let mut client = tollgate.client();
            stop_short_of_the_end(&mut client, &all_taken);
            client
        })
        .collect();
    tollgate.stop();
    tollgate.process.wait_for_output();
    assert_eq!(tollgate.records().len(), clients.len());
}

#[test]
fn a_client_that_leaves_right_behind_its_request_has_its_record() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    for round in 0..20 {
        let mut client = tollgate.client();
        client.send(get("/gone"));
        client.finish_sending();
        let _ = client.wire().rest();
        tollgate.wait_for_records(round + 1);
    }
    assert_eq!(tollgate.final_records().len(), 20);
}
