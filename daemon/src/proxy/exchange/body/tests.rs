use futures_util::stream;
use http_body_util::StreamBody;
use tokio::sync::mpsc;

use super::*;

type Frames = mpsc::UnboundedSender<Result<Frame<Bytes>, std::io::Error>>;

/// Sender of a body, and the body.
fn body(
    min_rate: MinRate,
) -> (
    Frames,
    MinRateBody<(), impl Body<Data = Bytes, Error = std::io::Error> + Unpin>,
) {
    let (sender, mut frames) = mpsc::unbounded_channel();
    let body = StreamBody::new(stream::poll_fn(move |context| frames.poll_recv(context)));
    (sender, MinRateBody::new(body, min_rate, End::Framed, ()))
}

fn data(length: usize) -> Result<Frame<Bytes>, std::io::Error> {
    Ok(Frame::data(Bytes::from(vec![0; length])))
}

/// Sends `length` bytes every `every` seconds for an hour. Returns the bytes that arrived and the time until the body ended.
async fn send_regularly(min_rate: MinRate, length: usize, every: u64) -> (usize, Duration) {
    let (sender, mut body) = body(min_rate);
    let begin = Instant::now();
    let mut arrived = 0;
    let sending = async {
        for _ in 0..3600 / every {
            if sender.send(data(length)).is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(every)).await;
        }
        drop(sender);
        std::future::pending::<()>().await;
    };
    let receiving = async {
        while let Some(Ok(frame)) = body.frame().await {
            arrived += frame.data_ref().unwrap().len();
        }
    };
    tokio::select! {
        () = sending => {}
        () = receiving => {}
    }
    (arrived, begin.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_body_above_the_minimum_rate_passes() {
    for (min_rate, length, every) in [
        (CLIENT_MIN_RATE, 11, 1),
        (CLIENT_MIN_RATE, 400, 20),
        (REGISTRY_MIN_RATE, 5, 5),
        (REGISTRY_MIN_RATE, 1, 240),
    ] {
        let (arrived, _) = send_regularly(min_rate, length, every).await;
        assert_eq!(
            arrived as u64,
            3600 / every * length as u64,
            "{min_rate:?} {length} {every}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_below_the_minimum_rate_is_cut_after_one_window() {
    for (min_rate, length, every, seconds) in [
        (CLIENT_MIN_RATE, 9, 1, 60),
        (CLIENT_MIN_RATE, 0, 1, 60),
        (REGISTRY_MIN_RATE, 0, 1, 300),
    ] {
        let (_, took) = send_regularly(min_rate, length, every).await;
        assert_eq!(took.as_secs(), seconds, "{min_rate:?} {length} {every}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_fails_as_stalled() {
    for (min_rate, seconds) in [(CLIENT_MIN_RATE, 60), (REGISTRY_MIN_RATE, 300)] {
        let (sender, mut body) = body(min_rate);
        sender.send(data(1 << 20)).unwrap();
        assert!(body.frame().await.unwrap().is_ok());
        let begin = Instant::now();
        let cut = body.frame().await.unwrap().unwrap_err();
        assert!(cut.is::<StalledBody>(), "{cut}");
        assert_eq!(begin.elapsed().as_secs(), seconds);
    }
}

/// A receiver that does not read is no reason to cut the sender.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_read_is_not_cut() {
    let (sender, mut body) = body(CLIENT_MIN_RATE);
    let early = tokio::time::timeout(Duration::from_secs(1), body.frame()).await;
    assert!(early.is_err(), "nothing was sent");
    tokio::time::advance(Duration::from_secs(3600)).await;
    let late = tokio::time::timeout(Duration::from_secs(1), body.frame()).await;
    assert!(late.is_err(), "a new window has begun");
    sender.send(data(1)).unwrap();
    assert!(body.frame().await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_http2_body_that_ends_before_end_stream_is_cut() {
    let (sender, mut body) = body(REGISTRY_MIN_RATE);
    body.end = End::Http2;
    sender.send(data(3)).unwrap();
    drop(sender);
    assert!(body.frame().await.unwrap().is_ok());
    // This stream of frames knows no END_STREAM.
    let cut = body.frame().await.unwrap().unwrap_err();
    assert!(cut.is::<CutBody>(), "{cut}");
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_delivered_if_the_body_is_whole_and_short_enough() {
    for (max_size, is_cut, is_delivered) in [(6, false, true), (5, false, false), (6, true, false)] {
        let (sender, mut body) = body(REGISTRY_MIN_RATE);
        let copy = body.copy(max_size, Arc::default());
        sender.send(data(3)).unwrap();
        sender.send(data(3)).unwrap();
        if is_cut {
            sender.send(Err(std::io::ErrorKind::ConnectionReset.into())).unwrap();
        }
        drop(sender);
        while let Some(Ok(_)) = body.frame().await {}
        drop(body);
        assert_eq!(
            copy.whole().await.is_some_and(|(copy, _)| copy == [0; 6]),
            is_delivered,
            "{max_size}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_are_dropped_and_errors_are_passed_on() {
    let (sender, mut body) = body(REGISTRY_MIN_RATE);
    sender.send(Ok(Frame::trailers(http::HeaderMap::new()))).unwrap();
    sender.send(data(3)).unwrap();
    sender.send(Err(std::io::ErrorKind::ConnectionReset.into())).unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), 3);
    assert!(body.frame().await.unwrap().is_err());
    drop(sender);
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn copies_are_limited_together_and_dropped_with_their_reader() {
    let budget: Arc<Budget> = Arc::default();
    let size = 6 * 1024 * 1024;
    let mut stalled = Vec::new();
    for is_copied in [true, true, false] {
        let (sender, mut body) = body(REGISTRY_MIN_RATE);
        let mut copy = Box::pin(body.copy(usize::MAX, Arc::clone(&budget)).whole());
        sender.send(data(size)).unwrap();
        body.frame().await.unwrap().unwrap();
        assert_eq!(futures_util::poll!(&mut copy).is_pending(), is_copied);
        stalled.push((sender, body, copy));
    }
    // The bodies remain, and hold no copy.
    let stalled: Vec<_> = stalled.into_iter().map(|(sender, body, _)| (sender, body)).collect();
    assert!(budget.charge().add(16 * 1024 * 1024));
    drop(stalled);
}
