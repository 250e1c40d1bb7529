//! PROXY protocol, version 2: the header in which a load balancer names the address of its client.
//!
//! Only peers that the configuration names may send it, and they have to: a header that is optional could come from the
//! client. <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, section 2.2, has the format. Version 1 and the
//! additional values (TLV) are not read.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Reads a header. Returns the client's address, or `None` for a connection of the load balancer itself, such as a check.
///
/// # Errors
/// When reading fails, or the bytes are no such header.
pub(super) async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut start = [0; 16];
    stream.read_exact(&mut start).await?;
    let [signature @ .., version_and_command, family, high, low] = start;
    if signature != SIGNATURE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_LENGTH {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut addresses = vec![0; length];
    stream.read_exact(&mut addresses).await?;
    match (version_and_command, family) {
        (LOCAL, _) => Ok(None),
        (PROXY, TCP_OVER_IPV4) if length >= 12 => {
            let source = addresses.first_chunk::<4>().ok_or(io::ErrorKind::InvalidData)?;
            Ok(Some(Ipv4Addr::from(*source).into()))
        }
        (PROXY, TCP_OVER_IPV6) if length >= 36 => {
            let source = addresses.first_chunk::<16>().ok_or(io::ErrorKind::InvalidData)?;
            Ok(Some(Ipv6Addr::from(*source).to_canonical()))
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
/// Longest addresses and additional values. Load balancers send some hundred bytes at most.
const MAX_LENGTH: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, addresses].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x10, 0, 0x20, 0];

    #[tokio::test]
    async fn a_header_names_the_client_and_nothing_else_is_one() {
        let mut v6 = [0; 36];
        v6[..2].copy_from_slice(&[0x20, 1]);
        let mapped = [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 7], &[0; 20]].concat();
        let client = |text: &str| Some(Some(text.parse().unwrap()));
        for (bytes, names) in [
            (header(PROXY, TCP_OVER_IPV4, &V4), client("192.0.2.7")),
            (
                header(PROXY, TCP_OVER_IPV4, &[&V4[..], &[3, 0, 4, 1, 2, 3, 4]].concat()),
                client("192.0.2.7"),
            ),
            (header(PROXY, TCP_OVER_IPV6, &v6), client("2001::")),
            (header(PROXY, TCP_OVER_IPV6, &mapped), client("192.0.2.7")),
            (header(LOCAL, 0, &[]), Some(None)),
            (header(LOCAL, TCP_OVER_IPV4, &V4), Some(None)),
            (header(PROXY, TCP_OVER_IPV4, &V4[..11]), None),
            (header(PROXY, TCP_OVER_IPV6, &V4), None),
            (header(PROXY, 0, &[]), None),
            (header(PROXY, 0x12, &V4), None),
            (header(PROXY, 0x31, &[0; 216]), None),
            (header(0x11, TCP_OVER_IPV4, &V4), None),
            (header(0x22, TCP_OVER_IPV4, &V4), None),
            (header(PROXY, TCP_OVER_IPV4, &[0; 4096]), None),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 4096 8192\r\n".to_vec(), None),
            (b"CONNECT corp.example:443 HTTP/1.1\r\n\r\n".to_vec(), None),
            (header(PROXY, TCP_OVER_IPV4, &V4)[..20].to_vec(), None),
            (Vec::new(), None),
        ] {
            assert_eq!(read_header(&mut &bytes[..]).await.ok(), names, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn bytes_after_the_header_are_left_alone() {
        let bytes = [header(PROXY, TCP_OVER_IPV4, &V4), b"TLS".to_vec()].concat();
        let mut stream = &bytes[..];
        read_header(&mut stream).await.unwrap();
        assert_eq!(stream, b"TLS");
    }
}
