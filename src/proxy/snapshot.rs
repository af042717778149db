//! One configuration, prepared for the request path of one worker.

use std::rc::Rc;
use std::sync::Arc;

use http::HeaderName;
use hyper::server::conn::http1;

use crate::clock::Tick;
use crate::config::model::memory::{SEND_BUFFER, hyper_buffer};
use crate::config::model::{ErrorFormat, Http2, Listen, Model};
use crate::identity::Keys;
use crate::limit::buckets::Buckets;
use crate::limit::rules::Limits;
use crate::message::head::HeadLimits;
use crate::message::local_reply::ReplyShape;
use crate::telemetry::series::WorkerSeries;
use crate::tls::server::ServerTls;
use crate::upstream::app::{App, Apps};
use crate::upstream::breaker::Breakers;
use crate::upstream::pool::Pool;
use crate::upstream::spill::Spill;

use super::current::Prepared;
use super::measure::Series;

/// Header fields up to which hyper parses without allocating.
const HYPER_DEFAULT_HEADERS: usize = 100;
/// Of a connection over HTTP/2 (RFC 9113 section 6.9.1).
const LARGEST_WINDOW: u32 = (1 << 31) - 1;
/// What each field counts for besides its bytes (RFC 9113 section 6.5.2): what is a little too large is answered by us, the
/// rest by the library, with a bare 431.
const HEADER_LIST_OVERHEAD: usize = 64;

/// All an exchange needs of the configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// As resolved.
    pub model: Arc<Model>,
    /// The field of the request id. A copy of the worker's own: cloning the model's would have all workers count on
    /// one cache line.
    pub id_header: HeaderName,
    /// Idle connections to the app.
    pub pools: Pools,
    /// The breakers of routes that have one.
    pub breakers: Breakers,
    /// Limits; a copy of the worker's own as well.
    pub limits: Limits,
    /// Their states, which all workers share.
    pub buckets: Arc<Buckets>,
    /// Where exchanges are counted.
    pub series: Series,
    /// The API keys that are known, if there is a keys file.
    pub keys: Option<Arc<Keys>>,
    /// What is served over TLS, if anything.
    pub tls: Option<Arc<ServerTls>>,
    /// Where bodies go that are too large for memory, if anywhere.
    pub spill: Option<Arc<Spill>>,
    /// How large a head may be.
    pub head_limits: HeadLimits,
    /// The shape of local replies.
    pub reply_shape: ReplyShape,
    /// How connections are served.
    pub http1: http1::Builder,
    /// The same over HTTP/2.
    pub http2: h2::server::Builder,
}

/// Idle connections to each version of the app.
#[derive(Debug)]
pub struct Pools {
    /// To the one that everybody has.
    pub main: Rc<Pool>,
    /// To another, and how many callers out of ten thousand have it.
    pub canary: Option<(Rc<Pool>, u32)>,
}

impl Pools {
    /// Connections to an app that stays where it is are kept.
    fn new(prepared: &Prepared, before: Option<&Pools>) -> Pools {
        let idle_timeout = prepared.model.upstream.idle_timeout;
        let old: Vec<&Rc<Pool>> = before.map(|before| before.each().collect()).unwrap_or_default();
        let of = |app: &Arc<App>| match old.iter().find(|pool| Arc::ptr_eq(&pool.app, app)) {
            Some(pool) => {
                pool.set_idle_timeout(idle_timeout);
                Rc::clone(pool)
            }
            None => Rc::new(Pool::new(Arc::clone(app), idle_timeout)),
        };
        let Apps { main, canary } = &prepared.apps;
        let pools = Pools { main: of(main), canary: canary.as_ref().map(|(app, weight)| (of(app), *weight)) };
        for old in old {
            if !pools.each().any(|pool| Rc::ptr_eq(pool, old)) {
                old.retire();
            }
        }
        pools
    }

    /// Each of them.
    pub fn each(&self) -> impl Iterator<Item = &Rc<Pool>> {
        std::iter::once(&self.main).chain(self.canary.as_ref().map(|(pool, _)| pool))
    }

    /// Idle connections.
    pub fn idle(&self) -> usize {
        self.each().map(|pool| pool.len()).sum()
    }

    /// Closes what has been idle for too long.
    pub fn sweep(&self, now: Tick) {
        self.each().for_each(|pool| pool.sweep(now));
    }
}

impl Snapshot {
    /// Prepares a configuration for a worker; `before` is what it had.
    pub fn new(prepared: &Prepared, before: Option<&Snapshot>, worker: &WorkerSeries) -> Rc<Snapshot> {
        let model = Arc::clone(&prepared.model);
        let listen = &model.listen;
        let head_limits = HeadLimits {
            max_uri: listen.max_uri,
            max_headers: listen.max_headers,
            max_header_line: listen.max_header_line,
            max_header_bytes: listen.max_header_bytes,
        };
        let reply_shape = match model.errors {
            ErrorFormat::Json => ReplyShape::Json,
            ErrorFormat::Problem => ReplyShape::Problem,
        };
        let mut http1 = http1::Builder::new();
        http1.max_buf_size(hyper_buffer(listen.max_header_bytes));
        if listen.max_headers > HYPER_DEFAULT_HEADERS {
            http1.max_headers(listen.max_headers);
        }
        let http2 = http2_bounds(listen);
        let shared = &model.request_id.header;
        let id_header = HeaderName::from_bytes(shared.as_str().as_bytes()).unwrap_or_else(|_| shared.clone());
        let limits = model.limits.own_copy();
        let pools = Pools::new(prepared, before.map(|before| &before.pools));
        let series = Series::new(&model, worker);
        let (keys, buckets) = (prepared.keys.clone(), Arc::clone(&prepared.buckets));
        let spill = prepared.spill.clone();
        Rc::new(Snapshot {
            pools,
            breakers: prepared.breakers.clone(),
            keys,
            tls: prepared.tls.clone(),
            spill,
            model,
            limits,
            series,
            buckets,
            id_header,
            head_limits,
            reply_shape,
            http1,
            http2,
        })
    }
}

/// A stream holds no more than a connection with one request does; see [`crate::config::model::memory`].
fn http2_bounds(listen: &Listen) -> h2::server::Builder {
    let Http2 { max_streams, window } = listen.http2;
    // A stream that nobody reads yet must not hold up the others.
    let of_connection = window.saturating_mul(max_streams).min(LARGEST_WINDOW);
    let list = listen.max_header_bytes + HEADER_LIST_OVERHEAD * listen.max_headers;
    let mut bounds = h2::server::Builder::new();
    bounds
        .max_concurrent_streams(max_streams)
        .initial_window_size(window)
        .initial_connection_window_size(of_connection)
        .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .enable_connect_protocol();
    bounds
}
