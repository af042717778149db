//! The thread that watches the app, in all its versions, by the configuration in force.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::proxy::current::Current;
use crate::upstream::app::App;
use crate::upstream::watch::{Orders, watch as watch_app};

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct HealthThread {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl HealthThread {
    /// Begins to watch.
    pub(super) fn start(current: Arc<Current>, clock: Clock) -> io::Result<HealthThread> {
        let (stop, mut stopped) = watch::channel(false);
        let (started, start) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("health".to_owned()).spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            let _ = started.send(Ok(()));
            runtime.block_on(async {
                tokio::select! {
                    () = keep(&current, &clock) => {}
                    _ = stopped.wait_for(|stop| *stop) => {}
                }
            });
        })?;
        start.recv().unwrap_or_else(|_| Err(io::Error::other("the health thread ended before it began")))?;
        Ok(HealthThread { stop, thread: Some(thread) })
    }
}

impl Drop for HealthThread {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the health thread panicked");
        }
    }
}

/// Has each version of the app watched, and tells who watches of every reload.
async fn keep(current: &Current, clock: &Clock) {
    let mut watched: Vec<(Arc<App>, watch::Sender<Orders>)> = Vec::new();
    loop {
        let prepared = current.get();
        // A watcher without a sender ends.
        watched.retain(|(app, _)| prepared.apps.each().any(|wanted| Arc::ptr_eq(wanted, app)));
        for app in prepared.apps.each() {
            let orders = Orders::of(app.name, &prepared.model.upstream, prepared.model.admin.is_some());
            match watched.iter().find(|(known, _)| Arc::ptr_eq(known, app)) {
                Some((_, tell)) => drop(tell.send_replace(orders)),
                None => {
                    let (tell, told) = watch::channel(orders);
                    tokio::task::spawn_local(watch_app(Arc::clone(app), told, clock.sibling()));
                    watched.push((Arc::clone(app), tell));
                }
            }
        }
        drop(prepared);
        current.swapped().await;
    }
}
