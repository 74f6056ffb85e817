//! How many connections each client address has, over all workers.
//!
//! One client that opens thousands of connections must not take those of everybody. A connection
//! takes a [`Ticket`] when it is accepted and gives it back when it is closed; a request that
//! came through a trusted proxy takes one for the client behind it, for as long as it is under
//! way. Loopback, Unix sockets and trusted proxies themselves are not counted. Of IPv6 it is the
//! /64 that counts: that is what one customer gets (RFC 6177 §2).

use super::connection::{Connection, Phase};
use super::exchange::Desk;
use crate::app::Peer;
use crate::http::{Error, Head, parse_proxy_header};
use crate::limits::{Limit, PEER_SHARDS};
use crate::sys::Driver;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Addresses and their counts, in order. As many rows at most as there are connections.
type Rows = Vec<(u64, u32)>;

/// The counts.
#[derive(Debug)]
pub(super) struct Peers {
    shards: Box<[Mutex<Rows>]>,
}

/// One of an address's connections. Dropped, it is one less.
#[derive(Debug)]
pub(super) struct Ticket {
    peers: Arc<Peers>,
    key: u64,
}

impl Peers {
    pub(super) fn new() -> Peers {
        Peers {
            shards: (0..PEER_SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Counts one more of an address; `None` when it has `max` already.
    pub(super) fn enter(self: &Arc<Peers>, address: IpAddr, max: usize) -> Option<Ticket> {
        let key = key_of(address);
        let mut rows = self.rows(key);
        match rows.binary_search_by_key(&key, |row| row.0) {
            Ok(at) => {
                let (_, count) = rows.get_mut(at)?;
                if *count as usize >= max {
                    return None;
                }
                *count += 1;
            }
            Err(at) => rows.insert(at, (key, 1)),
        }
        drop(rows);
        Some(Ticket {
            peers: Arc::clone(self),
            key,
        })
    }

    fn leave(&self, key: u64) {
        let mut rows = self.rows(key);
        let Ok(at) = rows.binary_search_by_key(&key, |row| row.0) else {
            return;
        };
        match rows.get_mut(at) {
            Some((_, count)) if *count > 1 => *count -= 1,
            _ => drop(rows.remove(at)),
        }
    }

    /// The rows among which an address is. Nothing panics while they are locked.
    fn rows(&self, key: u64) -> MutexGuard<'_, Rows> {
        // Fibonacci hashing: neighbours go to different shards.
        let at = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % self.shards.len();
        self.shards[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.peers.leave(self.key);
    }
}

/// An IPv4 address, or the first half of an IPv6 one. The two do not meet: no IPv6 network that
/// is routed begins with 32 zeros.
fn key_of(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

/// Whether somebody on this machine has connected. In a simulated world everybody has.
fn is_local(peer: &Peer) -> bool {
    peer.address()
        .is_none_or(|address| address.ip().to_canonical().is_loopback())
}

impl<D: Driver> Desk<D> {
    /// Takes a ticket for a new connection; false when its address has too many.
    pub(super) fn admit(&self, connection: &mut Connection) -> bool {
        let Peer::Ip(address) = connection.peer else {
            connection.proxied = self.shared.app.trust().trusts(&connection.peer);
            return true;
        };
        connection.proxied = self.shared.app.trust().trusts(&connection.peer);
        if connection.proxied || address.ip().is_loopback() {
            return true;
        }
        let max = self.shared.limits.connections_per_address_max;
        connection.ticket = self.shared.peers.enter(address.ip(), max);
        if connection.ticket.is_none() {
            self.tell_address(connection.peer);
        }
        connection.ticket.is_some()
    }

    /// Takes a ticket for the client behind a proxy while its request is under way; false when
    /// he has too many, and the request is refused.
    pub(super) fn admit_client(&mut self, connection: &mut Connection, head: &Head<'_>) -> bool {
        connection.ticket = None;
        let Some(client) = self.shared.app.trust().client(head, &connection.peer) else {
            return true;
        };
        if client.is_loopback() {
            return true;
        }
        let max = self.shared.limits.connections_per_address_max;
        connection.ticket = self.shared.peers.enter(client, max);
        if connection.ticket.is_none() {
            self.refuse(connection, Error::RequestsTooMany);
        }
        connection.ticket.is_some()
    }

    /// Lets a connection in that has to begin with a PROXY header; false when its peer may send
    /// none. It takes no ticket before the client is known.
    pub(super) fn admit_proxy(&mut self, connection: &mut Connection) -> bool {
        connection.proxied = self.shared.app.trust().trusts(&connection.peer);
        let admitted = connection.proxied || is_local(&connection.peer);
        if !admitted {
            self.refuse_proxy(connection, Error::ProxyHeader);
        }
        admitted
    }

    /// Reads the PROXY header; gives its bytes, 0 when it is not whole or the connection ends.
    pub(super) fn receive_proxy(&mut self, connection: &mut Connection, data: &[u8]) -> usize {
        let header = match parse_proxy_header(data) {
            Ok(Some(header)) => header,
            Ok(None) => return 0,
            Err(error) => {
                self.refuse_proxy(connection, error);
                return 0;
            }
        };
        if let Some(client) = header.client {
            if !connection.proxied {
                self.refuse_proxy(connection, Error::ProxyHeader);
                return 0;
            }
            // From here on he is the peer: one who is a trusted proxy himself is believed too.
            connection.peer = Peer::Ip(client);
            if !self.admit(connection) {
                self.cut(connection);
                return 0;
            }
        }
        self.enter(connection, Phase::Head);
        header.consumed
    }

    /// Ends a connection that has to begin with a PROXY header and does not, without a word: who
    /// speaks another protocol would not understand it, and who forged one learns nothing.
    pub(super) fn refuse_proxy(&mut self, connection: &mut Connection, error: Error) {
        self.block.refuse(error);
        if let Some(observer) = &self.shared.observer {
            observer.on_refusal(self.worker, connection.peer, error);
        }
        self.cut(connection);
    }

    /// Has the worker close a connection that is owed nothing.
    fn cut(&self, connection: &mut Connection) {
        connection.peer_shut = true;
        self.enter(connection, Phase::Closing);
    }

    fn tell_address(&self, peer: Peer) {
        let limit = Limit::ConnectionsPerAddressMax;
        self.block.hit(limit);
        if let Some(observer) = &self.shared.observer {
            observer.on_limit(self.worker, peer, limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn rows(peers: &Peers) -> usize {
        peers
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().len())
            .sum()
    }

    #[test]
    fn an_address_has_its_number_and_gets_it_back() {
        let peers = Arc::new(Peers::new());
        let mut held: Vec<Ticket> = (0..3)
            .map(|_| peers.enter(address("192.0.2.1"), 3).unwrap())
            .collect();
        assert!(peers.enter(address("192.0.2.1"), 3).is_none());
        let other = peers.enter(address("192.0.2.2"), 3).unwrap();
        held.pop();
        held.push(peers.enter(address("192.0.2.1"), 3).unwrap());
        assert!(peers.enter(address("192.0.2.1"), 3).is_none());
        drop((held, other));
        assert_eq!(rows(&peers), 0, "nothing is left of who is gone");
    }

    #[test]
    fn a_customer_of_ipv6_is_a_64() {
        let peers = Arc::new(Peers::new());
        let one = peers.enter(address("2001:db8::1"), 1).unwrap();
        assert!(peers.enter(address("2001:db8::ffff:1"), 1).is_none());
        assert!(peers.enter(address("2001:db8:0:1::1"), 1).is_some());
        drop(one);
        let mapped = peers.enter(address("::ffff:192.0.2.1"), 1).unwrap();
        assert!(peers.enter(address("192.0.2.1"), 1).is_none());
        drop(mapped);
    }

    #[test]
    fn many_threads_and_addresses_add_up() {
        let peers = Arc::new(Peers::new());
        let threads: Vec<_> = (0..4)
            .map(|thread: u32| {
                let peers = Arc::clone(&peers);
                std::thread::spawn(move || {
                    let mut held = Vec::new();
                    for round in 0..2_000u32 {
                        let ip = IpAddr::from([10, 0, (round % 7) as u8, (round * 31 % 251) as u8]);
                        held.push(peers.enter(ip, usize::MAX).unwrap());
                        if round % 3 == thread % 3 {
                            held.swap_remove(round as usize % held.len());
                        }
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(rows(&peers), 0);
    }
}
