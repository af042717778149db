//! Reading an answer: just enough to know that it is the right one, whole and nothing more.

use memchr::memmem;

use crate::trouble::{Fallible, Trouble};

/// What a right answer looks like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) body_bytes: usize,
    /// Whether it must carry a request id.
    pub(crate) request_id: bool,
    /// Whether it may be a refusal, of whatever length.
    pub(crate) refused: bool,
}

/// One answer on its way in; used again for the next one.
pub(crate) struct Answer {
    expected: Expected,
    /// The head, only when it came in pieces.
    partial_head: Vec<u8>,
    /// Body bytes still to come, once the head is understood.
    missing: Option<usize>,
}

const HEAD_LIMIT_BYTES: usize = 16 * 1024;

impl Answer {
    pub(crate) fn new(expected: Expected) -> Self {
        Self { expected, partial_head: Vec::new(), missing: None }
    }

    /// Takes what was read; `true` when the answer is complete, and ready for the next.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Fallible<bool> {
        if bytes.is_empty() {
            return Err(Trouble::new("the connection ended before the answer did"));
        }
        let missing = match self.missing {
            Some(missing) => body(missing, bytes.len())?,
            None if self.partial_head.is_empty() => match memmem::find(bytes, b"\r\n\r\n") {
                Some(end) => {
                    let length = check_head(&bytes[..end + 4], self.expected)?;
                    body(length, bytes.len() - end - 4)?
                }
                None => {
                    self.partial_head.extend_from_slice(bytes);
                    return Ok(false);
                }
            },
            None => match self.continue_head(bytes)? {
                Some(missing) => missing,
                None => return Ok(false),
            },
        };
        self.missing = (missing > 0).then_some(missing);
        Ok(missing == 0)
    }

    fn continue_head(&mut self, bytes: &[u8]) -> Fallible<Option<usize>> {
        self.partial_head.extend_from_slice(bytes);
        let Some(end) = memmem::find(&self.partial_head, b"\r\n\r\n") else {
            if self.partial_head.len() > HEAD_LIMIT_BYTES {
                return Err(Trouble::new("the head of an answer never ends"));
            }
            return Ok(None);
        };
        let length = check_head(&self.partial_head[..end + 4], self.expected)?;
        let missing = body(length, self.partial_head.len() - end - 4)?;
        self.partial_head.clear();
        Ok(Some(missing))
    }
}

fn body(missing: usize, arrived: usize) -> Fallible<usize> {
    missing.checked_sub(arrived).ok_or_else(|| Trouble::new("bytes follow the end of an answer"))
}

/// The length of the body that follows.
fn check_head(head: &[u8], expected: Expected) -> Fallible<usize> {
    let wrong = |what: &str| {
        let head = String::from_utf8_lossy(head);
        Err(Trouble::new(format!("wrong answer, {what}:\n{head}")))
    };
    let mut fields = [httparse::EMPTY_HEADER; 48];
    let mut parsed = httparse::Response::new(&mut fields);
    if parsed.parse(head).is_err() {
        return wrong("its head is malformed");
    }
    let is_refusal = expected.refused && parsed.code == Some(429);
    if !is_refusal && parsed.code != Some(200) {
        return wrong("its status is not the expected one");
    }
    let mut length = None;
    let mut request_id = false;
    for field in parsed.headers {
        if field.name.eq_ignore_ascii_case("content-length") {
            length = str::from_utf8(field.value).ok().and_then(|text| text.parse().ok());
        } else if field.name.eq_ignore_ascii_case("x-request-id") {
            request_id = !field.value.is_empty();
        }
    }
    if is_refusal && let Some(length) = length {
        return Ok(length);
    }
    if length != Some(expected.body_bytes) {
        return wrong(&format!("its length is not {}", expected.body_bytes));
    }
    if expected.request_id && !request_id {
        return wrong("it has no request id");
    }
    Ok(expected.body_bytes)
}
