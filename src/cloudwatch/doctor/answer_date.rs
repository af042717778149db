//! The time that AWS has: the `Date` of its answers, also of those that refuse.

use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use aws_sdk_cloudwatch::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_cloudwatch::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_cloudwatch::error::BoxError;

/// Keeps the last one.
#[derive(Debug, Clone, Default)]
pub(super) struct AnswerDate(Arc<Mutex<Option<String>>>);

impl AnswerDate {
    /// Seconds since 1970.
    pub(super) fn seconds(&self) -> Option<u64> {
        let text = self.0.lock().ok()?.clone()?;
        let time = httpdate::parse_http_date(&text).ok()?;
        time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
    }
}

impl Intercept for AnswerDate {
    fn name(&self) -> &'static str {
        "AnswerDate"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let (Ok(mut date), Some(found)) = (self.0.lock(), context.response().headers().get("date")) {
            *date = Some(found.to_owned());
        }
        Ok(())
    }
}
