//! HTTP/2 frames as bytes (RFC 9113), to send what no HTTP/2 library sends.

/// Connection preface and an empty SETTINGS frame.
pub fn preface() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat()
}

/// One frame of any type.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Header block of literals without indexing (RFC 7541, section 6.2.2).
///
/// # Panics
/// When a name or value has 127 bytes or more.
pub fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "the length has to fit into one byte");
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.bytes());
        }
    }
    block
}

/// HEADERS frame with END_HEADERS, and END_STREAM when `ends`.
pub fn headers(stream: u32, headers: &[(&str, &str)], ends: bool) -> Vec<u8> {
    frame(1, 4 | u8::from(ends), stream, &block(headers))
}

/// RST_STREAM frame with CANCEL.
pub fn reset(stream: u32) -> Vec<u8> {
    frame(3, 0, stream, &8_u32.to_be_bytes())
}
