//! Requests to the admin listener: one at a time, each over a connection of its own, with an end to all patience.

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::time::Duration;

use bytes::Buf;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::admin::status::Status;
use crate::socket::Socket;

use super::super::CONFIGURATION;
use super::super::columns::shown;
use super::{Admin, Failure, Place};

const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// A reload of a large configuration takes a while.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// Far more than the largest status.
const MAX_ANSWER: usize = 64 << 20;

/// What an error of the admin listener says.
#[derive(Debug, Deserialize)]
struct Refused {
    error: String,
    message: String,
    #[serde(default)]
    problems: Vec<String>,
}

impl Admin {
    /// The state of the running tollgate.
    pub(in crate::cli) fn status(&self) -> Result<Status, Failure> {
        let bytes = self.ask(&Method::GET, "/status", None)?;
        serde_json::from_slice(&bytes).map_err(|_| self.is_something_else())
    }

    /// Sends a request with a JSON body; the answer's JSON, `null` where it has none.
    pub(in crate::cli) fn send(&self, method: &Method, path: &str, body: &Value) -> Result<Value, Failure> {
        let bytes = self.ask(method, path, Some(body))?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|_| self.is_something_else())
    }

    fn ask(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Vec<u8>, Failure> {
        runtime()?.block_on(async {
            let response = self.open(method, path, body).await?;
            let status = response.status();
            let read = timeout(ANSWER_PATIENCE, whole(response.into_body())).await;
            let bytes = read.map_err(|_| self.is_silent())?.map_err(|error| self.has_failed(&error))?;
            if status.is_success() { Ok(bytes) } else { Err(self.refused(status, &bytes)) }
        })
    }

    /// Sends a request and waits for the head of its answer, whatever its status.
    pub(super) async fn open(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>, Failure> {
        let connected = timeout(CONNECT_PATIENCE, self.connect()).await;
        let socket = connected
            .unwrap_or_else(|_| Err(io::Error::from(ErrorKind::TimedOut)))
            .map_err(|error| self.is_not_there(&error))?;
        let request = self.request(method, path, body)?;
        let exchange = async {
            let (mut sender, connection) = http1::handshake::<_, String>(TokioIo::new(socket)).await?;
            // It ends with the answer's body, or with the runtime.
            tokio::spawn(connection);
            sender.send_request(request).await
        };
        timeout(ANSWER_PATIENCE, exchange)
            .await
            .map_err(|_| self.is_silent())?
            .map_err(|error| self.has_failed(&error))
    }

    async fn connect(&self) -> io::Result<Socket> {
        match &self.place {
            Place::Tcp { host, port } => TcpStream::connect((host.as_str(), *port)).await.map(Socket::Tcp),
            Place::Unix(path) => UnixStream::connect(path).await.map(Socket::Unix),
        }
    }

    fn request(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Request<String>, Failure> {
        let host = match &self.place {
            place @ Place::Tcp { .. } => place.to_string(),
            Place::Unix(_) => "localhost".to_owned(),
        };
        let body = body.map(Value::to_string);
        let mut request = Request::new(String::new());
        *request.method_mut() = method.clone();
        *request.uri_mut() = path.parse().map_err(|_| Failure::new(format!("`{path}` is not a path"), ""))?;
        let headers = request.headers_mut();
        if let Ok(host) = HeaderValue::try_from(host) {
            headers.insert(header::HOST, host);
        }
        if body.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        *request.body_mut() = body.unwrap_or_default();
        Ok(request)
    }

    /// What a refusal means for the person at the terminal.
    pub(super) fn refused(&self, status: StatusCode, body: &[u8]) -> Failure {
        let place = &self.place;
        if status == StatusCode::UNAUTHORIZED {
            let message = match self.authorization {
                None => format!("the admin listener at `{place}` wants a token"),
                Some(_) => format!("the admin listener at `{place}` does not know this token"),
            };
            let help =
                "put the token into the variable TOLLGATE_ADMIN_TOKEN, or name its file with `--token-file`";
            return Failure::new(message, help);
        }
        let Ok(told) = serde_json::from_slice::<Refused>(body) else {
            return self.is_something_else();
        };
        let message = if told.message.is_empty() { told.error } else { told.message };
        let message = shown(message.trim_end_matches('.'));
        match told.problems.as_slice() {
            [] => Failure::new(message, ""),
            problems => {
                let lines: Vec<String> =
                    problems.iter().map(|problem| format!("\n  {}", shown(problem))).collect();
                // What has problems is a configuration.
                Failure { code: CONFIGURATION, ..Failure::new(format!("{message}:{}", lines.concat()), "") }
            }
        }
    }

    fn is_not_there(&self, error: &io::Error) -> Failure {
        let place = &self.place;
        let help = "tollgate listens for operators if its configuration has `[admin]`; name the address with \
                    `--admin ADDRESS` or `--config FILE`";
        match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => {
                Failure::new(format!("nothing listens at `{place}`"), help)
            }
            ErrorKind::TimedOut => Failure::new(format!("nobody answers at `{place}`"), help),
            ErrorKind::PermissionDenied => {
                Failure::new(format!("may not connect to `{place}`"), "run this as the user tollgate runs as")
            }
            _ => Failure::new(format!("cannot connect to `{place}`: {error}"), ""),
        }
    }

    fn is_silent(&self) -> Failure {
        Failure::new(format!("`{}` took the request and does not answer", self.place), "")
    }

    fn has_failed(&self, error: &hyper::Error) -> Failure {
        if error.is_parse() {
            return self.is_something_else();
        }
        Failure::new(format!("the connection to `{}` ended early: {error}", self.place), "")
    }

    pub(in crate::cli) fn is_something_else(&self) -> Failure {
        Failure::new(
            format!(
                "what answers at `{}` is not tollgate's admin listener, or one of another version",
                self.place
            ),
            "name the `address` of `[admin]`, not that of `[listen]`",
        )
    }
}

/// What a command runs its requests on.
pub(in crate::cli) fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot make a runtime: {error}"), ""))
}

/// The next bytes of a body; `None` at its end.
pub(super) fn next(body: &mut Incoming) -> impl Future<Output = Option<hyper::Result<bytes::Bytes>>> {
    poll_fn(move |cx| {
        Pin::new(&mut *body).poll_frame(cx).map(|frame| {
            // Trailers have no bytes.
            frame.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default()))
        })
    })
}

async fn whole(mut body: Incoming) -> hyper::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(data) = next(&mut body).await {
        let data = data?;
        bytes.extend_from_slice(data.chunk());
        if bytes.len() > MAX_ANSWER {
            break;
        }
    }
    Ok(bytes)
}
