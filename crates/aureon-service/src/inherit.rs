//! Sockets that somebody else opened for us, and those that we open ourselves.
//!
//! From a service manager: they are served, and an address of `listen` that none of them has is
//! bound beside them, but only if somebody wrote it down: the default is no wish. From a process
//! that we take over from: those that the configuration names, so that another `listen` comes
//! into force with an upgrade.

use aureon::server::{Address as Bound, Server};

use crate::address::{self, Address};
use crate::check;
use crate::config::Loaded;
use crate::problem::{Exit, Place};
use crate::service::{Failure, failed};
use crate::settings;
use crate::systemd;
use crate::upgrade::Handed;

/// What this process begins with.
#[derive(Debug, Default)]
pub struct Inherited {
    /// From a service manager, by number.
    sockets: Vec<u32>,
    /// Of the admin listener, from the process that we take over from.
    admin: Vec<u32>,
    /// A manager keeps the sockets, whoever handed them to us.
    pub held: bool,
    /// The process that we take over from.
    pub handed: Option<Handed>,
    /// The listeners whose connections begin with a PROXY header.
    pub proxied: Vec<Bound>,
}

impl Inherited {
    /// What the environment says.
    pub fn from_environment() -> Result<Inherited, Failure> {
        let handed =
            Handed::from_environment().map_err(|error| failed("cannot take over", &error))?;
        if let Some(handed) = handed {
            return Ok(Inherited {
                sockets: handed.listeners.clone(),
                admin: handed.admin.clone(),
                held: handed.held,
                handed: Some(handed),
                proxied: Vec::new(),
            });
        }
        let sockets = systemd::sockets().map_err(|line| Failure::new(Exit::Config, line))?;
        Ok(Inherited {
            held: !sockets.is_empty(),
            sockets,
            admin: Vec::new(),
            handed: None,
            proxied: Vec::new(),
        })
    }

    /// Listens on what was inherited and on what the configuration names beside it.
    pub fn listen(&mut self, mut server: Server, loaded: &Loaded) -> Result<Server, Failure> {
        for number in &self.sockets {
            let taken = if self.held {
                server.listen_inherited(*number)
            } else {
                server.listen_handed_over(*number)
            };
            server = taken.map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
        }
        if !self.held {
            let wanted = |bound: &Bound| loaded.addresses.iter().any(|one| is_same(one, bound));
            server = server.retain(wanted);
        }
        let place = settings::find("listen").and_then(|row| loaded.places.get(row));
        if self.held && place == Some(&Place::Default) {
            return Ok(server);
        }
        let inherited = server.addresses();
        for bound in &inherited {
            if loaded.proxied.iter().any(|one| is_same(one, bound)) {
                self.proxied.push(bound.clone());
            }
        }
        // Asking whether an address can be bound would find our own listener there.
        let missing = |one: &Address| !inherited.iter().any(|bound| is_same(one, bound));
        for address in check::present_addresses(loaded, &missing) {
            server = bind(server, &address)?;
            if loaded.proxied.contains(&address) {
                self.proxied.extend(server.addresses().pop());
            }
        }
        let proxied = &self.proxied;
        Ok(server.expect_proxy(|bound| proxied.contains(bound)))
    }

    /// The same for the admin listener, which no manager knows.
    pub fn listen_admin(&self, mut server: Server, wanted: &[Address]) -> Result<Server, Failure> {
        for number in &self.admin {
            let taken = server.listen_handed_over(*number);
            server = taken.map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
        }
        server = server.retain(|bound| wanted.iter().any(|one| is_same(one, bound)));
        let inherited = server.addresses();
        for address in wanted {
            if !inherited.iter().any(|bound| is_same(address, bound)) {
                server = bind(server, address)?;
            }
        }
        Ok(server)
    }
}

fn bind(server: Server, address: &Address) -> Result<Server, Failure> {
    server.listen(&address.show()).map_err(|error| {
        let exit = address::exit_of(&error.source);
        Failure::new(exit, address::explain(address, &error.source))
    })
}

/// Whether a listener is what an address asks for; port 0 asks for any.
fn is_same(address: &Address, bound: &Bound) -> bool {
    match (address, bound) {
        (Address::Ip(wanted), Bound::Ip(bound)) => {
            wanted.ip() == bound.ip() && (wanted.port() == bound.port() || wanted.port() == 0)
        }
        (Address::Unix(wanted), Bound::Unix(bound)) => bound.as_os_str() == wanted.as_str(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_same_by_ip_and_port_and_a_socket_by_its_path() {
        let ip = |text: &str| Address::Ip(text.parse().unwrap());
        let bound = |text: &str| Bound::Ip(text.parse().unwrap());
        assert!(is_same(&ip("127.0.0.1:80"), &bound("127.0.0.1:80")));
        assert!(is_same(&ip("127.0.0.1:0"), &bound("127.0.0.1:80")));
        assert!(!is_same(&ip("127.0.0.1:81"), &bound("127.0.0.1:80")));
        assert!(!is_same(&ip("0.0.0.0:80"), &bound("127.0.0.1:80")));
        assert!(!is_same(&ip("[::1]:80"), &bound("127.0.0.1:80")));
        let unix = Address::Unix("/run/a".to_owned());
        assert!(is_same(&unix, &Bound::Unix("/run/a".into())));
        assert!(!is_same(&unix, &Bound::Unix("/run/b".into())));
    }
}
