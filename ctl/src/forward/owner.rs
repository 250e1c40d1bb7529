//! Lookup of the user who holds a loopback connection, in Linux's tables of TCP sockets.
//!
//! Each connection to a forwarder uses its grant, so a forwarder serves no other user. Other systems have no table that
//! is safe without `unsafe` code. There a forwarder does not start.
//!
//! regauthd asks the kernel for one socket (sock_diag). `ctl` reads the whole table, and so needs no netlink library.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};

use regauth_shared::ErrorBody;

use crate::error;

/// True if a process of this process's user holds the socket whose own address is `client` and whose peer is `server`.
pub(super) fn is_own(client: SocketAddr, server: SocketAddr) -> bool {
    let (SocketAddr::V4(client), SocketAddr::V4(server)) = (client, server) else {
        return false;
    };
    // The kernel prints a table in parts, so a row can be missed while others go.
    (0..ATTEMPTS).find_map(|_| owner(client, server)) == Some(own_user())
}

/// Checks that the kernel names the owner of a connection of our own.
///
/// # Errors
/// It does not, or it gives several users one number.
pub(super) fn self_test() -> Result<(), ErrorBody> {
    let finds_own_user = || -> std::io::Result<bool> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        Ok(is_own(client.local_addr()?, client.peer_addr()?))
    };
    let tells_users_apart = own_user() != OVERFLOW_USER || maps_every_user();
    if tells_users_apart && matches!(finds_own_user(), Ok(true)) {
        return Ok(());
    }
    Err(
        error::refused("this system does not tell which user holds a connection, so other users could use the grant")
            .hint("use a client that can show a grant itself, or Maven and Gradle with the login in their own files"),
    )
}

fn owner(client: SocketAddrV4, server: SocketAddrV4) -> Option<u32> {
    // Java's sockets are IPv6, also for IPv4 connections.
    [("/proc/net/tcp", ""), ("/proc/net/tcp6", IPV4_MAPPED)]
        .into_iter()
        .find_map(|(table, prefix)| {
            let table = std::fs::read_to_string(table).ok()?;
            let [local, remote] = [client, server].map(|address| format!("{prefix}{}", hexadecimal(address)));
            table.lines().find_map(|row| owner_in_row(row, &local, &remote))
        })
}

/// Owner of the socket in a row of proc_pid_net(5), if it has these addresses and a process holds it. The kernel reports
/// root for a socket without a process.
fn owner_in_row(row: &str, local: &str, remote: &str) -> Option<u32> {
    let mut fields = row.split_ascii_whitespace().skip(1);
    if (fields.next()?, fields.next()?) != (local, remote) {
        return None;
    }
    let is_open = OPEN_STATES.contains(&fields.next()?);
    let user = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?;
    (is_open && inode != "0").then_some(user)
}

/// Address as the kernel prints it: a number in the machine's byte order, and the port.
fn hexadecimal(address: SocketAddrV4) -> String {
    format!(
        "{:08X}:{:04X}",
        u32::from_ne_bytes(address.ip().octets()),
        address.port()
    )
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// True if the user namespace gives every user a number of its own.
fn maps_every_user() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

const ATTEMPTS: usize = 3;
/// `::ffff:0:0` as the kernel prints it: four numbers in the machine's byte order.
const IPV4_MAPPED: &str = if cfg!(target_endian = "little") {
    "0000000000000000FFFF0000"
} else {
    "00000000000000000000FFFF"
};
/// TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2.
const OPEN_STATES: [&str; 3] = ["01", "04", "05"];
/// `/proc/sys/kernel/overflowuid`: the number that stands for all unmapped users.
const OVERFLOW_USER: u32 = 65534;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_owner_of_an_open_socket_that_a_process_holds() {
        let row = |state: &str, inode: &str| {
            format!(
                "  3: 0100007F:D2F0 0100007F:2329 {state} 00000000:00000000 00:00000000 00000000  1000        0 {inode} 1"
            )
        };
        let owner = |row: String| owner_in_row(&row, "0100007F:D2F0", "0100007F:2329");
        assert_eq!(owner(row("01", "77")), Some(1000));
        assert_eq!(owner(row("06", "77")), None, "TIME_WAIT");
        assert_eq!(owner(row("01", "0")), None, "no process");
        assert_eq!(owner_in_row(&row("01", "77"), "0100007F:2329", "0100007F:D2F0"), None);
        assert_eq!(
            owner_in_row("  sl  local_address rem_address", "local_address", "rem_address"),
            None
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn finds_ipv4_connections_of_ipv6_sockets() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        let client = TcpStream::connect((mapped, port)).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, client.local_addr().unwrap().port()));
        assert!(is_own(address, listener.local_addr().unwrap()));
        assert!(!is_own(listener.local_addr().unwrap(), "127.0.0.1:1".parse().unwrap()));
    }
}
