//! Addresses to listen on, and the listeners behind them.
//!
//! Where the kernel spreads connections over several listeners of one address (`SO_REUSEPORT` on
//! Linux), each worker gets its own, so that none waits for another. A Unix socket, or one that
//! was inherited, is shared: whoever keeps an inherited one keeps its queue as well, and a listener
//! bound beside it would lose its own when we end.

use crate::sys::socket::{self, Listener};
use std::fmt;
use std::io;
use std::net::SocketAddr;
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

/// The listeners of one address.
#[derive(Debug)]
struct Bound {
    address: Address,
    /// One, unless a process that had several workers handed its own over.
    listeners: Vec<Listener>,
    /// Ours to bind again for each worker, rather than somebody else's.
    own: bool,
    /// The path of a Unix socket is removed at the end.
    removes_path: bool,
    /// Connections begin with a PROXY header.
    proxied: bool,
}

/// The listeners bound so far.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    bound: Vec<Bound>,
    /// Permissions of the Unix sockets that are bound from now on.
    pub(super) unix_mode: Option<u32>,
}

/// What the workers get, and what stays with the server.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// A set for each worker, and which of them expect a PROXY header.
    pub(super) sets: Vec<(Vec<Listener>, Vec<bool>)>,
    /// Copies of all of them.
    pub(super) copies: Vec<Listener>,
    /// Paths of Unix sockets to remove at the end.
    pub(super) unix_paths: Vec<PathBuf>,
}

impl Listeners {
    pub(super) fn addresses(&self) -> Vec<Address> {
        let addresses = self.bound.iter().map(|bound| bound.address.clone());
        addresses.collect()
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Address) -> bool) {
        self.bound.retain(|bound| keep(&bound.address));
    }

    pub(super) fn expect_proxy(&mut self, expects: impl Fn(&Address) -> bool) {
        for bound in &mut self.bound {
            bound.proxied |= expects(&bound.address);
        }
    }

    pub(super) fn bind(&mut self, text: &str, backlog: u32) -> Result<(), ListenError> {
        let fail = |source| ListenError {
            address: text.to_owned(),
            source,
        };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            let fd = socket::listen_unix(&path, backlog, self.unix_mode).map_err(fail)?;
            self.push(Address::Unix(path), fd, true, true);
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
        self.push(Address::Ip(bound), fd, true, false);
        Ok(())
    }

    /// Takes an open listener over. `handed_over`: from a server that ends, with all that it
    /// had, rather than from one who keeps it.
    pub(super) fn inherit(
        &mut self,
        descriptor: u32,
        handed_over: bool,
    ) -> Result<(), ListenError> {
        let fail = |source| ListenError {
            address: format!("descriptor {descriptor}"),
            source,
        };
        let fd = socket::listen_inherited(descriptor).map_err(fail)?;
        let address = match socket::local_address(&fd).map_err(fail)? {
            Some(address) => Address::Ip(address),
            None => match socket::local_path(&fd).map_err(fail)? {
                Some(path) => Address::Unix(path),
                None => Address::Inherited(descriptor),
            },
        };
        let known = self.bound.iter_mut().find(|bound| bound.address == address);
        match known {
            Some(bound) => bound.listeners.push(fd),
            None => self.push(address, fd, false, handed_over),
        }
        Ok(())
    }

    fn push(&mut self, address: Address, fd: Listener, own: bool, removes_path: bool) {
        self.bound.push(Bound {
            address,
            listeners: vec![fd],
            own,
            removes_path,
            proxied: false,
        });
    }

    /// Shares the listeners out among the workers.
    pub(super) fn for_workers(self, workers: usize, backlog: u32) -> io::Result<Shares> {
        let mut shares = Shares {
            sets: (0..workers).map(|_| Default::default()).collect(),
            ..Shares::default()
        };
        for mut bound in self.bound {
            let spreads = bound.own && socket::SPREADS;
            if let (true, Address::Ip(address)) = (spreads, &bound.address) {
                while bound.listeners.len() < workers {
                    let own = socket::listen_tcp(*address, backlog, true)?;
                    bound.listeners.push(own);
                }
            }
            for listener in &bound.listeners {
                shares.copies.push(listener.try_clone()?);
            }
            // More workers than listeners share them; more listeners than workers are all
            // accepted from: each has a queue of its own in the kernel.
            let count = bound.listeners.len();
            for worker in count..workers {
                let shared = bound.listeners[worker % count].try_clone()?;
                shares.sets[worker].0.push(shared);
                shares.sets[worker].1.push(bound.proxied);
            }
            for (index, listener) in bound.listeners.into_iter().enumerate() {
                shares.sets[index % workers].0.push(listener);
                shares.sets[index % workers].1.push(bound.proxied);
            }
            if let (Address::Unix(path), true) = (bound.address, bound.removes_path) {
                shares.unix_paths.push(path);
            }
        }
        Ok(shares)
    }
}
