//! tollgate as a library: started, used and drained inside this process.

use std::sync::Arc;
use std::time::Duration;

use tollgate::config::{self, Overrides};
use tollgate::daemon::{Daemon, StartError};

use super::echoing;
use crate::harness::client::Client;
use crate::harness::log;

fn model(upstream: &str) -> Arc<tollgate::config::model::Model> {
    log::lines();
    let text = format!(
        "[listen]\naddress = [\"127.0.0.1:0\", \"[::1]:0\"]\n[upstream]\naddress = \"{upstream}\"\n[log]\naccess = \"off\"\n"
    );
    let loaded = config::load(&text, "in-process", &|_| None, &Overrides::default());
    Arc::new(loaded.unwrap_or_else(|report| panic!("{}", report.render(false))).model)
}

fn drain(daemon: &Daemon) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(daemon.drain(Duration::from_secs(20)))
}

#[test]
fn a_daemon_serves_on_every_address_and_drains() {
    let origin = echoing();
    let daemon = Daemon::start(model(origin.address()), Some(2)).unwrap();
    let addresses: Vec<String> = daemon.addresses().iter().map(ToString::to_string).collect();
    assert_eq!(addresses.len(), 2);
    for address in &addresses {
        assert_eq!(Client::connect(address).get("/here").text(), "/here");
    }
    assert!(drain(&daemon));
    daemon.close();
}

#[test]
fn two_daemons_live_beside_one_another() {
    let (one, other) = (echoing(), echoing());
    let first = Daemon::start(model(one.address()), Some(1)).unwrap();
    let second = Daemon::start(model(other.address()), Some(1)).unwrap();
    for daemon in [&first, &second] {
        let address = daemon.addresses()[0].to_string();
        assert_eq!(Client::connect(&address).get("/").status(), 200);
    }
    assert_eq!((one.received().len(), other.received().len()), (1, 1));
    for daemon in [first, second] {
        assert!(drain(&daemon));
        daemon.close();
    }
}

#[test]
fn what_cannot_start_says_why() {
    let error = Daemon::start(model("no-such-host.invalid:80"), Some(1)).unwrap_err();
    assert!(matches!(error, StartError::Upstream(..)), "{error}");
}
