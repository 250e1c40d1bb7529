//! Company proxy (CONNECT) that leads names of the real world to servers of a test. A daemon that uses it reaches
//! `https://pkgs.dev.azure.com/` without the network.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// Running proxy. It ends when dropped.
#[derive(Debug)]
pub struct NameProxy {
    port: u16,
    is_over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl NameProxy {
    /// Starts a proxy that leads port 443 of these hosts to these ports of 127.0.0.1, and refuses all others.
    ///
    /// # Panics
    /// When no port is free.
    pub fn start(hosts: &[(&str, u16)]) -> Self {
        let hosts: Vec<_> = hosts
            .iter()
            .map(|(host, port)| (format!("{host}:443"), *port))
            .collect();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, hosts) = (Arc::clone(&is_over), Arc::new(hosts));
        let accepting = thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let hosts = Arc::clone(&hosts);
                // A client that leaves early is no fault of the test.
                thread::spawn(move || drop(serve(stream, &hosts)));
            }
        });
        Self {
            port,
            is_over,
            accepting: Some(accepting),
        }
    }

    /// URL of the proxy.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for NameProxy {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the accept.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
    }
}

fn serve(mut client: TcpStream, hosts: &[(String, u16)]) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
    let Some((_, port)) = hosts.iter().find(|(host, _)| Some(host.as_str()) == target) else {
        return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n");
    };
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, *port))?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (to_server, to_client) = ((client.try_clone()?, server.try_clone()?), (server, client));
    let upload = thread::spawn(move || copy(to_server.0, to_server.1));
    copy(to_client.0, to_client.1)?;
    drop(upload.join());
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    io::copy(&mut from, &mut to)?;
    to.shutdown(Shutdown::Write)
}
