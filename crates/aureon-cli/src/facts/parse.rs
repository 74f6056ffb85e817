//! The answer of the script of facts → values.
//!
//! Total: whatever a host says becomes facts or an error that names the line. A name that is not
//! known is an error too, for it is another version's. An answer without its last line is
//! not whole.

use std::fmt;
use std::net::IpAddr;

use super::base64::parse_base64;
use super::{Facts, File, HostCertificate, Listener, ReleaseRuns, Resolved, Unit};
use crate::wanted::Socket;

/// Of the lines and what they mean.
pub(super) const VERSION: &str = "1";

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FactsError {
    /// It does not begin with `aureon-facts 1`.
    NoFacts(String),
    /// The last line is missing.
    Cut,
    /// Line, from 1, and what it says.
    Line(usize, String),
}

impl fmt::Display for FactsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFacts(found) => {
                write!(
                    f,
                    "facts begin with `aureon-facts {VERSION}`, not with `{found}`"
                )
            }
            Self::Cut => write!(f, "the facts are not whole: the last line is missing"),
            Self::Line(line, text) => write!(f, "line {line} of the facts means nothing: `{text}`"),
        }
    }
}

impl std::error::Error for FactsError {}

/// Reads an answer, or a recorded one.
///
/// # Errors
/// It is not whole, or a line of it is not understood.
pub fn parse_facts(text: &str) -> Result<Facts, FactsError> {
    let mut facts = Facts::default();
    let mut lines = text.lines().map(|line| line.trim_end_matches('\r'));
    let first = lines.next().unwrap_or_default();
    if first.split('\t').ne(["aureon-facts", VERSION]) {
        return Err(FactsError::NoFacts(first.chars().take(80).collect()));
    }
    let mut whole = false;
    for (at, line) in lines.enumerate() {
        // A recorded host is edited by hand: comments and empty lines are left out.
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.split('\t').collect();
        whole |= fields == ["end"];
        if facts.take(&fields).is_none() {
            let shown = line.chars().take(80).collect();
            return Err(FactsError::Line(at + 2, shown));
        }
    }
    if !whole {
        return Err(FactsError::Cut);
    }
    facts.complete();
    Ok(facts)
}

/// An empty field is a program that is missing: nothing is known.
fn number<T: std::str::FromStr + Default>(text: &str) -> Option<T> {
    match text.is_empty() {
        true => Some(T::default()),
        false => text.parse().ok(),
    }
}

impl Facts {
    fn take(&mut self, fields: &[&str]) -> Option<()> {
        match *fields {
            ["end"] => {}
            ["system", value] => value.clone_into(&mut self.system),
            ["system_version", value] => value.clone_into(&mut self.system_version),
            ["architecture", value] => value.clone_into(&mut self.architecture),
            ["glibc", value] => value.clone_into(&mut self.glibc),
            ["systemd", value] => self.systemd = number(value)?,
            ["memory_bytes", value] => self.memory_bytes = number(value)?,
            ["disk_free_bytes", value] => self.disk_free_bytes = number(value)?,
            ["time_s", value] => self.time_s = number(value)?,
            ["time_synchronised", value] => self.time_synchronised = value == "yes",
            ["user", value] => value.clone_into(&mut self.user),
            ["ssh_port", port, _] => self.ssh_ports.push(port.parse().ok()?),
            ["listener", address, program] => {
                self.listeners.push(parse_listener(address, program)?);
            }
            ["listener_hex", address] => self.listeners.push(parse_hex_listener(address)?),
            ["address", address] => self.addresses.push(address.parse().ok()?),
            ["docker", ports, name] => {
                let ports = parse_docker(ports);
                let named = ports.iter().map(|port| (*port, name.to_owned()));
                self.docker_names.extend(named);
                self.docker_ports.extend(ports);
            }
            ["ufw", "installed"] => self.firewall.installed = true,
            ["ufw", "active"] => self.firewall.active = true,
            ["ufw_rule", rule] => self.firewall.rules.push(rule.to_owned()),
            ["firewall", name] => self.firewall.other = Some(name.to_owned()),
            ["nginx_name", name, file] => self.nginx_names.push((name.to_owned(), file.to_owned())),
            ["nginx_version", version] => self.nginx_version = parse_version(version),
            ["nginx_offered", version] => self.nginx_offered = parse_version(version),
            ["nginx_stock_default"] => self.nginx_stock_default = true,
            ["ipv6"] => self.ipv6 = true,
            ["nginx_default", file] => self.nginx_defaults.push(file.to_owned()),
            _ => return self.take_more(fields),
        }
        Some(())
    }

    fn take_more(&mut self, fields: &[&str]) -> Option<()> {
        match *fields {
            ["package", name] => self.packages.push(name.to_owned()),
            ["file", path, kind, mode, owner, value] => {
                self.files.push(parse_file(path, kind, mode, owner, value)?);
            }
            ["unit", name, enabled, active] => self.units.push(Unit {
                name: name.to_owned(),
                enabled: enabled == "enabled" || enabled == "enabled-runtime",
                active: active == "active" || active == "reloading",
            }),
            ["release", name] => self.releases.push(name.to_owned()),
            ["release_runs", id, kind, seconds, path] => {
                self.release_runs
                    .push(parse_release_runs(id, kind, seconds, path)?);
            }
            ["current", name] => self.current = Some(name.to_owned()),
            ["previous", name] => self.previous = Some(name.to_owned()),
            ["app_port", port] => self.app_port = Some(port.parse().ok()?),
            ["secret", name] => self.secrets.push(name.to_owned()),
            ["run", name] => self.runs.push(name.to_owned()),
            // The last one stands on top of the others.
            ["unfinished", name] => self.unfinished = Some(name.to_owned()),
            ["certificate", _, ends, names] => {
                self.certificate = Some(HostCertificate {
                    names: names.split_whitespace().map(ToOwned::to_owned).collect(),
                    ends_s: ends.parse().ok()?,
                });
            }
            ["dns", name, addresses] => {
                let addresses = addresses.split_whitespace().map(str::parse);
                self.dns.push(Resolved {
                    name: name.to_owned(),
                    addresses: addresses.collect::<Result<_, _>>().ok()?,
                });
            }
            _ => return None,
        }
        Some(())
    }

    /// What follows from several lines.
    fn complete(&mut self) {
        let mut ports = std::mem::take(&mut self.ssh_ports);
        let listening = self.listeners.iter().filter(|one| one.program == "sshd");
        ports.extend(listening.map(|one| one.port));
        let mut seen = Vec::new();
        ports.retain(|port| {
            !seen.contains(port) && {
                seen.push(*port);
                true
            }
        });
        self.ssh_ports = ports;
        let published = |one: &&Listener| one.program == "docker-proxy" && one.is_public();
        let published: Vec<u16> = self
            .listeners
            .iter()
            .filter(published)
            .map(|one| one.port)
            .collect();
        self.docker_ports.extend(published);
        self.docker_ports.sort_unstable();
        self.docker_ports.dedup();
        self.listeners.dedup();
    }
}

/// `1.22`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

impl Listener {
    /// Somebody on another machine may connect to it.
    #[must_use]
    pub fn is_public(&self) -> bool {
        match self.address.parse::<IpAddr>() {
            Ok(address) => !address.is_loopback(),
            Err(_) => true,
        }
    }
}

/// `0.0.0.0:22`, `[::]:22`, `*:80`, `127.0.0.53%lo:53`, as `ss` writes it.
fn parse_listener(text: &str, program: &str) -> Option<Listener> {
    let (address, port) = text.rsplit_once(':')?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let address = address.split('%').next().unwrap_or_default();
    Some(Listener {
        address: if address == "*" { "::" } else { address }.to_owned(),
        port: port.parse().ok()?,
        program: program.to_owned(),
    })
}

/// `0100007F:1F90`, as /proc/net/tcp has it: each four bytes in the processor's order, which is
/// the little end first on all that we know.
fn parse_hex_listener(text: &str) -> Option<Listener> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = Vec::new();
    for word in address.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    let address = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some(Listener {
        address: address.to_string(),
        port: u16::from_str_radix(port, 16).ok()?,
        program: String::new(),
    })
}

/// Of `0.0.0.0:8080->80/tcp, 127.0.0.1:5432->5432/tcp` the ports that anybody reaches.
fn parse_docker(ports: &str) -> Vec<u16> {
    let published = ports.split(", ").filter_map(|one| one.split_once("->"));
    let public = published.filter_map(|(from, _)| parse_listener(from, ""));
    let public = public.filter(Listener::is_public);
    public.map(|one| one.port).collect()
}

fn parse_release_runs(id: &str, kind: &str, seconds: &str, path: &str) -> Option<ReleaseRuns> {
    let socket = match kind {
        "site" => None,
        "inherited" => Some(Socket::Inherited),
        "port" => Some(Socket::Port),
        _ => return None,
    };
    Some(ReleaseRuns {
        id: id.to_owned(),
        socket,
        health_path: String::from_utf8(parse_base64(path)?).ok()?,
        health_timeout_s: seconds.parse().ok()?,
    })
}

fn parse_file(path: &str, kind: &str, mode: &str, owner: &str, value: &str) -> Option<File> {
    let mut file = File {
        path: path.to_owned(),
        content: None,
        mode: u32::from_str_radix(mode, 8).ok()?,
        owner: owner.to_owned(),
        link: None,
        directory: false,
    };
    match kind {
        "none" => {}
        "directory" => file.directory = true,
        "file" => file.content = Some(parse_base64(value)?),
        "link" => {
            let target = String::from_utf8(parse_base64(value)?).ok()?;
            file.link = Some(target.trim_end_matches('\n').to_owned());
        }
        "large" => {
            let text = ["(", value, " bytes, more than is compared)\n"].concat();
            file.content = Some(text.into_bytes());
        }
        _ => return None,
    }
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::super::Leads;
    use super::*;

    fn parse(lines: &[&str]) -> Facts {
        parse_facts(&["aureon-facts\t1\n", &lines.join("\n"), "\nend\n"].concat()).unwrap()
    }

    #[test]
    fn every_port_that_lets_a_session_in_is_told_once() {
        let facts = parse(&[
            "ssh_port\t2222\tsession",
            "ssh_port\t22\tsshd",
            "ssh_port\t2222\tsshd",
            "listener\t[::]:2022\tsshd",
            "listener\t*:80\tnginx",
        ]);
        assert_eq!(facts.ssh_ports, [2222, 22, 2022]);
    }

    #[test]
    fn listeners_are_read_in_every_form() {
        let facts = parse(&[
            "listener\t127.0.0.53%lo:53\tsystemd-resolve",
            "listener\t[::1]:25\t",
            "listener\t*:443\tnginx",
            "listener_hex\t0100007F:1F90",
            "listener_hex\t00000000000000000000000001000000:0016",
        ]);
        let shown: Vec<String> = facts
            .listeners
            .iter()
            .map(|one| format!("{} {}", one.address, one.port))
            .collect();
        assert_eq!(
            shown,
            [
                "127.0.0.53 53",
                "::1 25",
                ":: 443",
                "127.0.0.1 8080",
                "::1 22"
            ]
        );
        let public: Vec<bool> = facts.listeners.iter().map(Listener::is_public).collect();
        assert_eq!(public, [false, false, true, false, false]);
    }

    #[test]
    fn ports_that_docker_publishes_to_all_are_found() {
        let facts = parse(&[
            "docker\t0.0.0.0:8080->80/tcp, :::8080->80/tcp, 443/tcp\tweb",
            "docker\t127.0.0.1:5432->5432/tcp\tdb",
            "listener\t0.0.0.0:9000\tdocker-proxy",
            "listener\t127.0.0.1:9001\tdocker-proxy",
        ]);
        assert_eq!(facts.docker_ports, [8080, 9000]);
        assert_eq!(facts.docker_names[0], (8080, "web".to_owned()));
    }

    #[test]
    fn a_name_leads_here_to_cloudflare_or_elsewhere() {
        let facts = parse(&[
            "address\t203.0.113.7",
            "dns\ta\t203.0.113.7",
            "dns\tb\t104.16.1.1 2606:4700::1",
            "dns\tc\t203.0.113.7 198.51.100.1",
            "dns\td\t",
        ]);
        let there = Leads::Elsewhere(vec!["198.51.100.1".parse().unwrap()]);
        let leads = ["a", "b", "c", "d", "e"].map(|name| facts.leads(name));
        let expected = [
            Leads::Here,
            Leads::Cloudflare,
            there,
            Leads::Nowhere,
            Leads::Unknown,
        ];
        assert_eq!(leads, expected);
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        let error = |text: &str| parse_facts(text).unwrap_err();
        assert_eq!(error("aureon-facts\t1\nsystem\tdebian\n"), FactsError::Cut);
        assert!(matches!(error("<html>"), FactsError::NoFacts(_)));
        assert!(matches!(
            error("aureon-facts\t2\nend\n"),
            FactsError::NoFacts(_)
        ));
        for line in [
            "colour\tred",
            "app_port\tx",
            "file\t/a\tfile\t644\tr:r\t!",
            "address\t1.2.3",
            "release_runs\ta\tdocker\t30\tLw==",
            "release_runs\ta\tport\tsoon\tLw==",
        ] {
            let text = ["aureon-facts\t1\n# a comment\n\n", line, "\nend\n"].concat();
            assert_eq!(error(&text), FactsError::Line(4, line.to_owned()));
        }
    }

    #[test]
    fn whatever_a_host_says_is_facts_or_an_error() {
        let whole = include_str!("../../tests/hosts/debian-12-deployed.facts");
        assert!(parse_facts(whole).is_ok());
        // Each line without its end, twice, and with a field too many.
        let lines: Vec<&str> = whole.lines().collect();
        for at in 0..lines.len() {
            for wrong in ["", "\t", "x", "\t\t\t\t\t\t\t", "\u{0}"] {
                let mut changed = lines.clone();
                let line = [lines[at], wrong].concat();
                changed[at] = &line;
                let _ = parse_facts(&changed.join("\n"));
                changed[at] = wrong;
                let _ = parse_facts(&changed.join("\n"));
            }
            let cut = parse_facts(&lines[..at].join("\n"));
            let said_all = lines[..at].contains(&"end");
            assert_eq!(cut.is_ok(), said_all, "{at}");
        }
    }
}
