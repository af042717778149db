//! What the configuration says of limits: which there are, what they count by, and what holds for all.
//!
//! Invariant: every limit measures something, every number in it is at least 1, and no cost is above what its
//! limit can ever hold.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderName;
use ipnet::IpNet;

use super::meter::Meter;

/// All limits of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// What holds for all of them.
    pub limiting: Limiting,
    /// Each once, in the order of their names.
    pub limits: Vec<Arc<Limit>>,
    /// What each route's requests must pay, by the route's index. Address limits come first, so that a flood of
    /// invented keys pays at its address before a key of it is remembered.
    pub by_route: Vec<Vec<Due>>,
}

impl Limits {
    /// A copy that shares nothing with this one, so that workers do not count on one cache line.
    pub fn own_copy(&self) -> Limits {
        let limits: Vec<Arc<Limit>> = self.limits.iter().map(|limit| Arc::new(limit.own_copy())).collect();
        let own = |due: &Due| Due {
            limit: limits
                .iter()
                .find(|limit| limit.name == due.limit.name)
                .map_or_else(|| Arc::clone(&due.limit), Arc::clone),
            cost: due.cost,
        };
        let by_route = self.by_route.iter().map(|due| due.iter().map(own).collect()).collect();
        Limits { limiting: self.limiting.clone(), limits, by_route }
    }
}

/// A limit on a route.
#[derive(Debug, Clone)]
pub struct Due {
    /// Which.
    pub limit: Arc<Limit>,
    /// Tokens a request takes on entry: the route's `cost`, the limit's, or the limit's `reserve`.
    pub cost: u64,
}

/// A named rule.
#[derive(Debug, Clone)]
pub struct Limit {
    /// In refusals, fields, records.
    pub name: Arc<str>,
    /// What it counts by; at least one part.
    pub key: Vec<KeyPart>,
    /// Whether each route has its own bucket.
    pub per: Scope,
    /// Whether it refuses.
    pub mode: Mode,
    /// Bits of an IPv6 address that are one client; 1 to 128.
    pub ipv6_prefix: u8,
    /// Tokens a request takes.
    pub cost: Cost,
    /// For callers without a tier, or whose tier is not among `tiers`.
    pub standard: Vec<Meter>,
    /// For callers of a tier, by its name.
    pub tiers: Vec<(Arc<str>, Vec<Meter>)>,
}

impl Limit {
    /// What a caller of this tier is measured by.
    pub fn meters(&self, tier: Option<&str>) -> &[Meter] {
        let own = tier.and_then(|tier| self.tiers.iter().find(|(name, _)| **name == *tier));
        own.map_or(&self.standard, |(_, meters)| meters)
    }

    fn own_copy(&self) -> Limit {
        let copy = |meters: &[Meter]| meters.iter().map(Meter::own_copy).collect::<Vec<_>>();
        Limit {
            name: Arc::from(&*self.name),
            standard: copy(&self.standard),
            tiers: self.tiers.iter().map(|(tier, meters)| (Arc::from(&**tier), copy(meters))).collect(),
            ..self.clone()
        }
    }

    /// Whether it counts by the client's address alone.
    pub fn is_by_address(&self) -> bool {
        self.key.iter().all(|part| matches!(part, KeyPart::Ip | KeyPart::Global))
    }
}

/// A part of what a limit counts by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPart {
    /// The user, or the client's address where there is none.
    Caller,
    /// The user; a request without one is not counted.
    User,
    /// The client's address behind trusted proxies.
    Ip,
    /// The API key; a request without one is not counted.
    ApiKey,
    /// A request field; a request without it is not counted.
    Header(HeaderName),
    /// One bucket for everybody.
    Global,
}

/// As the configuration writes it.
impl fmt::Display for KeyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyPart::Caller => f.write_str("caller"),
            KeyPart::User => f.write_str("user"),
            KeyPart::Ip => f.write_str("ip"),
            KeyPart::ApiKey => f.write_str("api_key"),
            KeyPart::Header(name) => write!(f, "header:{name}"),
            KeyPart::Global => f.write_str("global"),
        }
    }
}

/// Whether a limit's buckets are shared between routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A bucket for each route.
    Route,
    /// One for all routes that name the limit.
    Service,
}

/// What a limit's decisions are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Mode {
    /// Nothing is decided.
    Off,
    /// Decided and recorded, never enforced.
    Shadow,
    /// Enforced.
    #[default]
    Enforce,
}

/// Tokens a request takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cost {
    /// Known on entry.
    Fixed(u64),
    /// Known when the app answers.
    Answer {
        /// The response field that tells it, a whole number.
        header: HeaderName,
        /// Taken on entry; settled by the answer.
        reserve: u64,
        /// Whether the client does not get to see the field.
        strip: bool,
    },
}

/// `[limiting]`
#[derive(Debug, Clone)]
pub struct Limiting {
    /// The most any limit may do: the kill switch.
    pub mode: Mode,
    /// `RateLimit` and `RateLimit-Policy`.
    pub ietf_fields: bool,
    /// `X-RateLimit-*`.
    pub legacy_fields: bool,
    /// What `X-RateLimit-Reset` means.
    pub reset: Reset,
    /// Percent of a wait that are added to it at most.
    pub jitter_percent: u8,
    /// Percent of known keys that a reload may put over their limit.
    pub reload_guard_percent: Option<u8>,
    /// Who is never limited.
    pub exempt: Exempt,
}

impl Default for Limiting {
    fn default() -> Limiting {
        Limiting {
            mode: Mode::Enforce,
            ietf_fields: true,
            legacy_fields: true,
            reset: Reset::Delta,
            jitter_percent: 0,
            reload_guard_percent: None,
            exempt: Exempt::default(),
        }
    }
}

/// What `X-RateLimit-Reset` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// Seconds from now.
    Delta,
    /// Seconds since 1970.
    Epoch,
}

/// Who is never limited. A user agent is not among it: anybody can send one.
#[derive(Debug, Clone, Default)]
pub struct Exempt {
    /// Client addresses.
    pub networks: Vec<IpNet>,
    /// Users, as identity names them.
    pub users: Vec<Arc<str>>,
    /// SHA-256 of API keys.
    pub keys: Vec<[u8; 32]>,
    /// Requests, written like the patterns of a route.
    pub paths: Option<Arc<crate::message::routes::RouteTable>>,
}

impl Exempt {
    /// Whether this address is.
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }
}
