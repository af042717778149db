//! Certificates over the life of the process: read at start and at each reload, and looked at once a day.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::model::Model;
use crate::proxy::current::Current;
use crate::tls::server::ServerTls;

use super::background::Background;
use super::{StartError, limits};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a configuration serves over TLS, if it does; ends that are near are told as events.
pub(super) fn load(
    model: &Model,
    before: Option<&ServerTls>,
    unix_seconds: u64,
) -> Result<Option<Arc<ServerTls>>, StartError> {
    let Some(settings) = &model.listen.tls else { return Ok(None) };
    let tls = ServerTls::load(settings, before, unix_seconds);
    let tls = tls.map_err(StartError::Tls)?;
    warn(&tls, unix_seconds);
    Ok(Some(Arc::new(tls)))
}

/// Starts the thread that looks at the certificates in force each day, if there are some.
pub(super) fn watch(current: Arc<Current>, clock: Clock) -> io::Result<Option<Background>> {
    if current.get().tls.is_none() {
        return Ok(None);
    }
    let background = Background::start("certificates", move |owner| {
        while owner.waits(DAY) {
            clock.reanchor();
            let unix_seconds = limits::now(&clock).unix_nanos / 1_000_000_000;
            if let Some(tls) = &current.get().tls {
                warn(tls, unix_seconds);
            }
        }
    })?;
    Ok(Some(background))
}

fn warn(tls: &ServerTls, unix_seconds: u64) {
    for expiry in &tls.expiries {
        if let Some(warning) = expiry.warning(unix_seconds) {
            tracing::warn!(certificate = &*expiry.certificate, "{warning}");
        }
    }
}
