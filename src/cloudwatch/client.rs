//! The way to AWS: one runtime, one configuration, and what goes wrong in words.
//!
//! Region, credentials and endpoint are found as every AWS tool finds them; nothing of it is asked before the first
//! client is needed. Invariant: a trouble is one bounded line, holds no secret, and names the IAM action if one is
//! missing.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_cloudwatch::config::ProvideCredentials as _;
use aws_sdk_cloudwatch::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use tokio::runtime::Runtime;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
const OPERATION_TIMEOUT: Duration = Duration::from_secs(25);
const ATTEMPTS: u32 = 3;
/// Bytes of a text from elsewhere that are passed on.
const MAX_DETAIL: usize = 300;

/// What every client of AWS is made of.
#[derive(Debug)]
pub struct Aws {
    runtime: Runtime,
    config: SdkConfig,
}

/// Why AWS did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// This host does not give what is needed to ask.
    Host(String),
    /// Nothing says which region.
    NoRegion,
    /// There are no credentials, or they are not accepted.
    Credentials(String),
    /// The caller lacks a right.
    Denied {
        /// The IAM action, `logs:PutLogEvents`.
        action: &'static str,
        /// What AWS said.
        detail: String,
    },
    /// What was asked for does not exist.
    Missing(String),
    /// It exists already.
    Exists,
    /// Something else is wrong with the request.
    Refused {
        /// The IAM action, as the operation's name.
        action: &'static str,
        /// AWS's name of the error.
        code: String,
        /// What AWS said.
        detail: String,
    },
    /// AWS did not answer, or is not able to now; it may be later.
    Unreachable {
        /// The IAM action, as the operation's name.
        action: &'static str,
        /// What happened.
        detail: String,
    },
}

impl Aws {
    /// Finds region and credentials' source; asks for no credentials yet. `region` goes before what is found.
    pub fn new(region: Option<&str>) -> Result<Aws, Trouble> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Trouble::Host(error.to_string()))?;
        let config = runtime.block_on(load(region))?;
        Ok(Aws { runtime, config })
    }

    /// The region.
    pub fn region(&self) -> &str {
        self.config.region().map_or("", |region| region.as_ref())
    }

    /// Whether there are credentials, and where from they are.
    pub fn credentials(&self) -> Result<(), Trouble> {
        let Some(provider) = self.config.credentials_provider() else {
            return Err(Trouble::Credentials("no source of credentials".to_owned()));
        };
        match self.runtime.block_on(provider.provide_credentials()) {
            Ok(_) => Ok(()),
            Err(error) => Err(Trouble::Credentials(chain(&error))),
        }
    }

    /// A client of CloudWatch.
    pub fn cloudwatch(&self) -> aws_sdk_cloudwatch::Client {
        aws_sdk_cloudwatch::Client::new(&self.config)
    }

    /// A client of CloudWatch Logs.
    pub fn logs(&self) -> aws_sdk_cloudwatchlogs::Client {
        aws_sdk_cloudwatchlogs::Client::new(&self.config)
    }

    /// Waits for an answer.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Waits for an answer; `action` is the IAM action it needs.
    pub fn call<T, E>(
        &self,
        action: &'static str,
        future: impl Future<Output = Result<T, SdkError<E>>>,
    ) -> Result<T, Trouble>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        self.runtime.block_on(future).map_err(|error| trouble(action, &error))
    }
}

/// Finds region and the source of credentials; asks for no credentials yet. `region` goes before what is found.
pub async fn load(region: Option<&str>) -> Result<SdkConfig, Trouble> {
    let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
    if let Some(region) = region {
        loader = loader.region(Region::new(region.to_owned()));
    }
    let config = loader.load().await;
    if config.region().is_none() {
        return Err(Trouble::NoRegion);
    }
    Ok(config)
}

/// An error of the SDK in our words.
pub fn trouble<E>(action: &'static str, error: &SdkError<E>) -> Trouble
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let code = error.code().unwrap_or_default();
    let detail = bounded(error.message().unwrap_or("it gives no reason"));
    if let Some(status) =
        error.raw_response().map(|answer| answer.status()).filter(|status| status.is_server_error())
    {
        let status = status.as_u16();
        return Trouble::Unreachable {
            action,
            detail: format!("status {status}, `{}`: {detail}", bounded(code)),
        };
    }
    match code {
        "" => no_answer(action, error),
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "NotAuthorized" => {
            Trouble::Denied { action, detail }
        }
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired" => Trouble::Credentials(format!("AWS says `{}`: {detail}", bounded(code))),
        "ResourceNotFoundException" | "ResourceNotFound" | "DashboardNotFoundError" => {
            Trouble::Missing(detail)
        }
        "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "LimitExceeded" => {
            Trouble::Unreachable { action, detail: format!("`{code}`: {detail}") }
        }
        "ResourceAlreadyExistsException" => Trouble::Exists,
        code => Trouble::Refused { action, code: bounded(code), detail },
    }
}

fn no_answer<E>(action: &'static str, error: &SdkError<E>) -> Trouble
where
    E: std::error::Error + 'static,
{
    let detail = chain(error);
    // The SDK wraps the failure to find credentials as a failure to dispatch.
    match detail.contains("credentials") {
        true => Trouble::Credentials(detail),
        false => Trouble::Unreachable { action, detail },
    }
}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    bounded(&text)
}

/// One line of bounded length.
fn bounded(text: &str) -> String {
    let kept = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut kept: String = kept.take(MAX_DETAIL).collect();
    if kept.len() < text.len() {
        kept.push('…');
    }
    kept.trim().to_owned()
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Host(detail) => write!(f, "cannot ask AWS: {detail}"),
            Trouble::NoRegion => f.write_str("no AWS region is known"),
            Trouble::Credentials(detail) => write!(f, "no usable AWS credentials: {detail}"),
            Trouble::Denied { action, detail } => write!(f, "not allowed, IAM action `{action}`: {detail}"),
            Trouble::Missing(detail) => write!(f, "it does not exist: {detail}"),
            Trouble::Exists => f.write_str("it exists already"),
            Trouble::Refused { action, code, detail } => write!(f, "`{action}` failed, `{code}`: {detail}"),
            Trouble::Unreachable { action, detail } => write!(f, "no usable answer to `{action}`: {detail}"),
        }
    }
}

impl Trouble {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Trouble::NoRegion => "set `region` of `[cloudwatch]`, or the variable AWS_REGION".to_owned(),
            Trouble::Credentials(_) => {
                "give the host a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".to_owned()
            }
            Trouble::Denied { action, .. } => format!("allow `{action}` in the policy of this role"),
            Trouble::Missing(_) => {
                "make it first, or look whether region and account are the right ones".to_owned()
            }
            Trouble::Host(_) | Trouble::Exists | Trouble::Refused { .. } => String::new(),
            Trouble::Unreachable { .. } => {
                "look at network, proxy and endpoint (AWS_ENDPOINT_URL) of this host".to_owned()
            }
        }
    }
}

impl std::error::Error for Trouble {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_elsewhere_is_one_bounded_line() {
        assert_eq!(bounded(" a\nb\u{1b}[0m "), "a b [0m");
        assert_eq!(bounded(&"x".repeat(1_000)).chars().count(), MAX_DETAIL + 1);
    }

    #[test]
    fn a_missing_right_is_named() {
        let denied = Trouble::Denied { action: "logs:PutLogEvents", detail: "no".to_owned() };
        assert!(denied.to_string().contains("`logs:PutLogEvents`"));
        assert_eq!(denied.help(), "allow `logs:PutLogEvents` in the policy of this role");
    }
}
