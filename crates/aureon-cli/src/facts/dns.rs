//! What the names of a site resolve to, seen from this machine.
//!
//! By the system's own resolver, so that what a browser here would do is what is looked at; the
//! host may see something else, and is not asked. A name that does not resolve is a fact and
//! no error.

use std::net::{IpAddr, ToSocketAddrs};

use super::Resolved;

/// Asks for every name.
#[must_use]
pub fn resolve(names: &[String]) -> Vec<Resolved> {
    names.iter().map(|name| resolve_one(name)).collect()
}

fn resolve_one(name: &str) -> Resolved {
    let mut addresses: Vec<IpAddr> = match (name, 443).to_socket_addrs() {
        Ok(found) => found.map(|address| address.ip()).collect(),
        Err(_) => Vec::new(),
    };
    addresses.sort_unstable();
    addresses.dedup();
    Resolved {
        name: name.to_owned(),
        addresses,
    }
}

/// As lines of recorded facts.
#[must_use]
pub fn write_lines(resolved: &[Resolved]) -> String {
    let mut out = String::new();
    for name in resolved {
        let addresses: Vec<String> = name.addresses.iter().map(ToString::to_string).collect();
        out.push_str(&["dns\t", &name.name, "\t", &addresses.join(" "), "\n"].concat());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_does_not_exist_has_no_address() {
        // RFC 6761 §6.4: no resolver knows any name below `invalid`.
        let names = ["127.0.0.1".to_owned(), "aureon.invalid".to_owned()];
        let resolved = resolve(&names);
        assert_eq!(resolved[0].addresses, [IpAddr::from([127, 0, 0, 1])]);
        assert!(resolved[1].addresses.is_empty());
        assert_eq!(
            write_lines(&resolved),
            "dns\t127.0.0.1\t127.0.0.1\ndns\taureon.invalid\t\n"
        );
    }
}
