//! Loading a configuration: any text gives a usable model or a report that can be shown, never a panic, and
//! what the environment holds decides nothing but values. A NUL byte divides the input into files that lie over each
//! other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::config::{Layer, Overrides, load_layers, not_utf8};

fuzz_target!(|input: &[u8]| {
    if std::str::from_utf8(input).is_err() {
        let report = not_utf8(input, "tollgate.toml").expect("a report");
        assert!(!report.render(false).is_empty());
    }
    let layers: Vec<Layer<'_>> =
        input.split(|byte| *byte == 0).map(|bytes| Layer { file: "tollgate.toml", bytes }).collect();
    let environment = |name: &str| (name.len() % 2 == 0).then(|| name.repeat(2));
    let overrides = Overrides { upstream: Some("127.0.0.1:8000".to_owned()), ..Overrides::default() };
    match load_layers(&layers, &environment, &overrides) {
        Ok(loaded) => {
            let listen = &loaded.model.listen;
            assert!(!listen.addresses.is_empty());
            assert!(listen.max_connections > 0 && listen.max_uri > 0 && listen.max_headers > 0);
            assert!(!listen.header_timeout.is_zero() && !listen.drain_timeout.is_zero());
            assert_eq!(loaded.warnings.errors(), 0);
            loaded.warnings.render(true);
        }
        Err(report) => {
            assert!(report.errors() > 0, "refused without a reason");
            assert!(!report.render(false).contains('\u{1b}'), "color where none was wanted");
            report.render(true);
        }
    }
});
