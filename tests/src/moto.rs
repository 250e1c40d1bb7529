//! AWS's security token service, by moto. It gives credentials for any identity: [`crate::token_service`] checks that.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use tempfile::TempDir;

use crate::exec;
use crate::process::Process;
use crate::programs::tool;

/// Running moto server.
#[derive(Debug)]
pub struct Moto {
    address: SocketAddr,
    _folder: TempDir,
    _process: Process,
}

impl Moto {
    /// Starts a server on a free port.
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        // moto takes a port by its number, so another process could take it in between.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut python = exec::command(tool("python/bin/python"), folder.path());
        python.args(["-c", START, &address.port().to_string()]);
        let mut process = Process::spawn("moto", &mut python, &folder.path().join("moto.log"));
        process.wait_until("its port", || TcpStream::connect(address).ok());
        Self {
            address,
            _folder: folder,
            _process: process,
        }
    }

    /// Address of its HTTP server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

const START: &str = "import sys; from moto.server import main; main(['-H', '127.0.0.1', '-p', sys.argv[1]])";
