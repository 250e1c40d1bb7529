//! Answers over HTTP/2 that end in the wrong way, as frames.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Http2Ending;
use crate::http2_frames;

pub(super) async fn serve_h2(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    ending: Http2Ending,
) -> std::io::Result<()> {
    stream.write_all(&http2_frames::frame(SETTINGS, 0, 0, &[])).await?;
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await?;
        match (kind, flags & 1) {
            (SETTINGS, 0) => stream.write_all(&http2_frames::frame(SETTINGS, 1, 0, &[])).await?,
            (PING, 0) => stream.write_all(&http2_frames::frame(PING, 1, 0, &payload)).await?,
            (HEADERS, _) => {
                let id = u32::from_be_bytes(id);
                stream.write_all(&response(id, ending)).await?;
                stream.flush().await?;
                if matches!(ending, Http2Ending::GoAwayAndClose | Http2Ending::GoAwayLaterAndClose) {
                    return stream.shutdown().await;
                }
            }
            _ => {}
        }
    }
}

fn response(stream: u32, ending: Http2Ending) -> Vec<u8> {
    use http2_frames::{frame, headers};
    let mut head = vec![(":status", "200")];
    if ending == Http2Ending::ResetAfterItsLength {
        head.push(("content-length", "4"));
    }
    let ends = ending == Http2Ending::EndThenReset;
    let go_away = |last: u32| frame(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat());
    let last = match ending {
        Http2Ending::GoAwayAndClose => go_away(0),
        Http2Ending::GoAwayLaterAndClose => go_away(stream),
        _ => frame(RST_STREAM, 0, stream, &[0; 4]),
    };
    [
        headers(stream, &head, false),
        frame(DATA, u8::from(ends), stream, b"half"),
        last,
    ]
    .concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
