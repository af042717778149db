//! Configurations that the unit tests of this module begin with.

use std::time::Duration;

use crate::config::model::Model;
use crate::config::model::emf::{Dimension, Emf, EmfPer, EmfSink};
use crate::config::{Overrides, load};

/// Three routes, nothing told to CloudWatch.
pub(crate) fn model() -> Model {
    let text = r#"
        [upstream]
        address = "127.0.0.1:8000"
        [[routes]]
        name = "query"
        match = "POST /query"
        [[routes]]
        name = "upload"
        match = "POST /upload"
        [[routes]]
        name = "rest"
        match = "/*"
    "#;
    load(text, "test.toml", &|_| None, &Overrides::default()).unwrap().model
}

/// Lines of a service `api`, by service and by route.
pub(crate) fn emf() -> Emf {
    Emf {
        sink: EmfSink::Logs { group: "tollgate/api".to_owned(), stream: None },
        namespace: "Shop".to_owned(),
        service: "api".to_owned(),
        environment: "production".to_owned(),
        per: EmfPer::Interval(Duration::from_secs(10)),
        dimensions: vec![vec![Dimension::Service], vec![Dimension::Service, Dimension::Route]],
        validate: false,
        extraction: true,
        log_group: None,
        log_stream: None,
    }
}
