//! The accept loop: nothing a client does or leaves undone stalls it.

use super::echoing;
use crate::harness::{Client, Setup, Tollgate};

#[test]
fn silent_connections_and_unfinished_heads_keep_nobody_waiting() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let mut silent: Vec<Client> = (0..200).map(|_| tollgate.client()).collect();
    for client in silent.iter_mut().step_by(2) {
        client.send("GET / HTTP/1.1\r\nHost");
    }
    assert_eq!(tollgate.client().get("/served").text(), "/served");
    for client in silent.iter_mut().step_by(2) {
        client.send(": a\r\n\r\n");
        assert_eq!(client.response().status(), 200);
    }
}

#[test]
fn connections_that_end_at_once_leave_nothing_behind() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    assert_eq!(tollgate.client().get("/").status(), 200);
    for number in 0..500 {
        let mut client = tollgate.client();
        match number % 3 {
            0 => drop(client),
            1 => client.reset(),
            _ => {
                client.send("GET /half");
                client.reset();
            }
        }
    }
    let settled = std::iter::repeat_with(|| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        tollgate.process.open_files()
    });
    let few = settled.take(1000).find(|count| *count < 60);
    assert!(few.is_some(), "{} descriptors stay open", tollgate.process.open_files());
    assert_eq!(tollgate.client().get("/served").text(), "/served");
}

#[test]
fn connections_beyond_the_limit_wait_until_one_ends() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).listen("max_connections = 4").start();
    let mut held: Vec<Client> = (0..4).map(|_| tollgate.client()).collect();
    for client in &mut held {
        assert_eq!(client.get("/held").text(), "/held");
    }
    let mut fifth = tollgate.client();
    let _ = fifth.try_send(crate::harness::client::get("/fifth"));
    // The four go on as before, and a place that becomes free is given away.
    for client in &mut held {
        assert_eq!(client.get("/held").text(), "/held");
    }
    drop(held);
    let served = (0..1000).any(|_| {
        let mut client = tollgate.client();
        let sent = client.try_send(crate::harness::client::get("/later")).is_ok();
        std::thread::sleep(std::time::Duration::from_millis(5));
        sent && client.wire().head().is_ok()
    });
    assert!(served, "no connection is served after the held ones ended");
}

#[test]
fn running_out_of_descriptors_is_survived() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    assert_eq!(tollgate.client().get("/before").status(), 200);
    let limit = tollgate.process.open_files() + 8;
    tollgate.process.limit_open_files(limit);
    let crowd: Vec<Client> = (0..30).map(|_| tollgate.client()).collect();
    let used = || tollgate.process.open_files();
    let full = (0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        used() >= limit - 1
    });
    assert!(full, "the limit of {limit} was not reached: {}", used());
    // It must neither end nor spin: a worker that spins uses all of its processor's time.
    let before = processor_ticks(tollgate.process.id());
    std::thread::sleep(std::time::Duration::from_millis(500));
    let spent = processor_ticks(tollgate.process.id()) - before;
    assert!(spent < 25, "{spent} hundredths of a second of processor time in half a second");
    drop(crowd);
    tollgate.process.limit_open_files(1024);
    assert_eq!(tollgate.client().get("/after").text(), "/after");
}

/// User and system time of a process, in hundredths of a second.
fn processor_ticks(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_single_place_is_given_to_whoever_comes_next_on_any_worker() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).listen("max_connections = 1").workers(2).start();
    for number in 0..12 {
        let target = format!("/{number}");
        assert_eq!(tollgate.client().get(&target).text(), target);
    }
}
