//! Limits that are there without being written.

use crate::limit::rate::Rate;
use crate::limit::rules::KeyPart;

/// A limit with a name, a rate and a key; the rest is as for any limit.
pub(super) struct Preset {
    pub(super) name: &'static str,
    count: u64,
    period_seconds: u64,
    pub(super) key: KeyPart,
}

const PRESETS: [Preset; 4] = [
    Preset { name: "public", count: 100, period_seconds: 60, key: KeyPart::Caller },
    // Who logs in is nobody yet.
    Preset { name: "auth", count: 5, period_seconds: 900, key: KeyPart::Ip },
    Preset { name: "staff", count: 30, period_seconds: 60, key: KeyPart::Caller },
    Preset { name: "admin", count: 10, period_seconds: 60, key: KeyPart::Caller },
];

impl Preset {
    pub(super) fn rate(&self) -> Option<Rate> {
        Rate::new(self.count, self.period_seconds)
    }
}

pub(super) fn find(name: &str) -> Option<Preset> {
    PRESETS.into_iter().find(|preset| preset.name == name)
}

pub(super) fn names() -> [&'static str; 4] {
    PRESETS.map(|preset| preset.name)
}
