//! Classification of IP addresses as public. The bearer of a grant reaches only public addresses and the registries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Is the address public unicast? False for loopback, link-local, private, shared (RFC 6598), multicast, reserved,
/// documentation and cloud metadata addresses, and for IPv6 addresses that embed such an IPv4 address.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Excludes the IANA IPv4 special-purpose registry, and Azure's metadata address, which is not in it.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !match a {
        0 | 10 | 127 | 224..=255 => true,
        100 => (64..128).contains(&b),
        169 => b == 254,
        172 => (16..32).contains(&b),
        192 => matches!((b, c), (168, _) | (0, 0 | 2) | (88, 99)),
        198 => matches!((b, c), (18 | 19, _) | (51, 100)),
        203 => (b, c) == (0, 113),
        _ => address == AZURE_METADATA,
    }
}

/// Accepts global unicast, 2000::/3 (RFC 4291, section 2.4). NAT64 and 6to4 addresses are as public as their IPv4
/// address.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    match segments {
        // NAT64 (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public_v4(v4(high, low)),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => is_public_v4(v4(high, low)),
        // Teredo, benchmarks, ORCHID and the rest of 2001::/23 (RFC 2928); documentation (RFC 3849, RFC 9637).
        [0x2001, 0..0x200, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..0x1000, ..] => false,
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

const AZURE_METADATA: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip]
    const PUBLIC: [&str; 15] = [
        "1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.0.1.1", "198.17.0.1",
        "223.255.255.255", "169.253.0.1", "2606:4700::1111", "2a00::1", "64:ff9b::808:808", "2002:808:808::1",
        "2001:4860:4860::8888",
    ];

    #[rustfmt::skip]
    const NOT_PUBLIC: [&str; 40] = [
        "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
        "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1",
        "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "168.63.129.16",
        "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1", "2002:7f00:1::1", "2002:a00:1::", "2001:0:1::1", "2001:db8::1", "fc00::1", "fd00:ec2::254",
        "fe80::1", "fec0::1", "ff02::1", "100::1", "3fff::1",
    ];

    #[test]
    fn only_public_unicast_is_public() {
        for (texts, public) in [(&PUBLIC[..], true), (&NOT_PUBLIC[..], false)] {
            for text in texts {
                assert_eq!(is_public(text.parse().unwrap()), public, "{text}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn an_embedded_v4_address_is_not_more_public_than_itself(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            let [a, b, c, d] = address.octets();
            let [high, low] = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
            for embedding in [
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                address.to_ipv6_mapped(),
            ] {
                proptest::prop_assert!(is_public(address.into()) || !is_public(embedding.into()));
            }
        }
    }
}
