use std::collections::VecDeque;

use super::*;

/// A body whose frames are known; each comes one poll late.
struct Coming {
    frames: VecDeque<Result<Frame<Bytes>, UploadFault>>,
    is_late: bool,
}

impl Body for Coming {
    type Data = Bytes;
    type Error = UploadFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadFault>>> {
        self.is_late = !self.is_late;
        if self.is_late {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.frames.pop_front())
    }
}

fn coming(frames: impl IntoIterator<Item = Result<Frame<Bytes>, UploadFault>>) -> Coming {
    Coming { frames: frames.into_iter().collect(), is_late: false }
}

fn pattern(len: usize) -> Bytes {
    (0..len).map(|at| (at % 251) as u8).collect()
}

/// Runs with a directory for spilled bodies, in which `max` bytes may be.
fn with_spill<F: Future<Output = ()>>(name: &str, max: u64, test: impl FnOnce(Arc<Spill>, Rc<Clock>) -> F) {
    let directory = std::env::temp_dir().join(format!("tollgate-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(test(Spill::open(&directory, max).unwrap(), Rc::new(Clock::start())));
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn what_was_read_and_what_follows_come_out_whole_with_their_length() {
    with_spill("upload-whole", 1 << 30, async |spill, clock| {
        let expected = pattern(1 << 20);
        let read = [expected.slice(..10), expected.slice(10..70_000)];
        let trailers = HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("x"))]);
        let rest = [expected.slice(70_000..500_000), expected.slice(500_000..)].map(Frame::data);
        let mut rest = coming(rest.into_iter().chain([Frame::trailers(trailers.clone())]).map(Ok));
        let mut body = SpilledBody::take(read, &mut rest, &spill, &clock).await.unwrap();
        assert_eq!(body.size_hint().exact(), Some(1 << 20));
        let mut bytes = Vec::new();
        let mut last = None;
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            match frame.unwrap().into_data() {
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => last = frame.into_trailers().ok(),
            }
        }
        assert!(bytes == expected && last == Some(trailers));
        assert!(body.is_end_stream());
    });
}

#[test]
fn a_body_that_breaks_off_is_none() {
    with_spill("upload-broken", 1 << 30, async |spill, clock| {
        let frames = [Ok(Frame::data(pattern(200_000))), Err(UploadFault::DownstreamLeft)];
        let taken = SpilledBody::take([], &mut coming(frames), &spill, &clock).await;
        assert_eq!(taken.unwrap_err(), UploadFault::DownstreamLeft);
    });
}

#[test]
fn a_body_for_which_the_disk_has_no_room_is_too_large() {
    with_spill("upload-full", 100_000, async |spill, clock| {
        let frames = [Ok(Frame::data(pattern(200_000)))];
        let taken = SpilledBody::take([pattern(1000)], &mut coming(frames), &spill, &clock).await;
        assert_eq!(taken.unwrap_err(), UploadFault::TooLarge);
    });
}
