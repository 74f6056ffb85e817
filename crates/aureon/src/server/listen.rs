//! Addresses to listen on, and the listeners behind them.
//!
//! Every TCP address gets one listener for each worker (`SO_REUSEPORT`), so that the kernel
//! spreads connections and no worker waits for another. A Unix socket, or one that was
//! inherited, exists once and is shared.

use crate::sys::socket;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What a server listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Ip(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
    /// An inherited Unix socket, by its descriptor.
    Inherited(u32),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Inherited(descriptor) => write!(f, "descriptor {descriptor}"),
        }
    }
}

/// An address that could not be listened on.
#[derive(Debug)]
pub struct ListenError {
    /// The address as it was given.
    pub address: String,
    /// Why not.
    pub source: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "can not listen on {}: {}", self.address, self.source)
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The listeners bound so far.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    bound: Vec<(Address, OwnedFd)>,
}

impl Listeners {
    pub(super) fn addresses(&self) -> Vec<Address> {
        self.bound
            .iter()
            .map(|(address, _)| address.clone())
            .collect()
    }

    pub(super) fn bind(&mut self, text: &str, backlog: u32) -> Result<(), ListenError> {
        let fail = |source| ListenError {
            address: text.to_owned(),
            source,
        };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            let fd = socket::listen_unix(&path, backlog).map_err(fail)?;
            self.bound.push((Address::Unix(path), fd));
            return Ok(());
        }
        // A name could stand for any address tomorrow, and resolving it would bring the C
        // library's resolver, 25 KB, into a static program.
        let address: SocketAddr = text.parse().map_err(|_| {
            let text = "write an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080";
            fail(io::Error::new(io::ErrorKind::InvalidInput, text))
        })?;
        // Without sharing first: with it the bind would succeed beside another process of
        // ours, and the two would take each other's connections without a word.
        let bound = socket::probe_tcp(address).map_err(fail)?;
        let fd = socket::listen_tcp(bound, backlog, true).map_err(fail)?;
        self.bound.push((Address::Ip(bound), fd));
        Ok(())
    }

    pub(super) fn inherit(&mut self, descriptor: u32) -> Result<(), ListenError> {
        let fail = |source| ListenError {
            address: format!("descriptor {descriptor}"),
            source,
        };
        let fd = socket::listen_inherited(descriptor).map_err(fail)?;
        let address = match socket::local_address(&fd).map_err(fail)? {
            Some(address) => Address::Ip(address),
            None => Address::Inherited(descriptor),
        };
        self.bound.push((address, fd));
        Ok(())
    }

    /// A set of listeners for each worker, and the paths of Unix sockets to remove at the end.
    pub(super) fn for_workers(
        self,
        workers: usize,
        backlog: u32,
    ) -> io::Result<(Vec<Vec<OwnedFd>>, Vec<PathBuf>)> {
        let mut sets: Vec<Vec<OwnedFd>> = (0..workers).map(|_| Vec::new()).collect();
        let mut paths = Vec::new();
        for (address, fd) in self.bound {
            for set in sets.iter_mut().skip(1) {
                // A shared socket that can't be bound again (an inherited one without
                // SO_REUSEPORT) is shared as the same socket.
                let own = match &address {
                    Address::Ip(address) => socket::listen_tcp(*address, backlog, true).ok(),
                    Address::Unix(_) | Address::Inherited(_) => None,
                };
                set.push(match own {
                    Some(own) => own,
                    None => fd.try_clone()?,
                });
            }
            if let Some(first) = sets.first_mut() {
                first.push(fd);
            }
            if let Address::Unix(path) = address {
                paths.push(path);
            }
        }
        Ok((sets, paths))
    }
}
