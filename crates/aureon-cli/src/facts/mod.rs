//! What a host is like: one read-only script, and its answer as values.
//!
//! The script asks everything at once, because each round trip costs; it needs nothing beyond a
//! POSIX shell and coreutils, and a program that is missing is a fact. The answer is lines of
//! `name<TAB>value`, values in base64 where they may hold anything, so that it can be kept in a
//! file and read again: a recorded host. What the names of the site resolve to is seen from here
//! and put in by [`dns`]; [`base64`] is the one coding that both sides have.

pub mod base64;
pub mod dns;
mod parse;

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use crate::limits;
use crate::wanted::Socket;

pub use parse::{FactsError, parse_facts};

/// The functions of the script.
const SCRIPT: &str = include_str!("script.sh");

/// What is asked of one host for one application.
#[derive(Debug, Clone, Default)]
pub struct Questions {
    /// The application.
    pub app: String,
    /// Files (`/etc/…`), units (`nginx.service`) and packages (`package:nginx`).
    pub about: Vec<String>,
    /// Where a certificate of certbot's would lie.
    pub certificate: Option<String>,
}

impl Questions {
    /// The whole script. It only reads.
    #[must_use]
    pub fn script(&self) -> String {
        let mut script = String::from(SCRIPT);
        let mut line = |words: &[&str]| {
            let quoted: Vec<String> = words[1..].iter().map(|word| quote(word)).collect();
            // Writing into a string can not fail.
            let _ = writeln!(script, "{} {}", words[0], quoted.join(" "));
        };
        let bytes = limits::FILE_BYTES_MAX.to_string();
        line(&[&["file_bytes_max=", &bytes].concat()]);
        line(&["fact", "aureon-facts", parse::VERSION]);
        for group in ["system", "ssh", "network", "firewall", "nginx", "journal"] {
            line(&[&[group, "_facts"].concat()]);
        }
        line(&["app_facts", &self.app]);
        for question in &self.about {
            match question.strip_prefix("package:") {
                Some(package) => line(&["package_fact", package]),
                None if question.starts_with('/') => line(&["file_fact", question]),
                None => line(&["unit_fact", question]),
            }
        }
        if let Some(path) = &self.certificate {
            line(&["certificate_fact", path]);
        }
        line(&["fact", "end"]);
        script
    }
}

/// One word for a POSIX shell, whatever is in it.
#[must_use]
pub fn quote(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    ["'", &word.replace('\'', "'\\''"), "'"].concat()
}

/// A host, as it is before anything is done.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// `debian`, `ubuntu`, … of /etc/os-release.
    pub system: String,
    /// `12`, `24.04`.
    pub system_version: String,
    /// `uname -m`.
    pub architecture: String,
    /// glibc's version, `2.36`; empty where there is none.
    pub glibc: String,
    /// systemd's version; 0 when it is not the first process.
    pub systemd: u32,
    /// MemTotal.
    pub memory_bytes: u64,
    /// Free below /opt and /var.
    pub disk_free_bytes: u64,
    /// Seconds since 1970 there; and whether systemd says that its clock is synchronised.
    pub time_s: u64,
    /// See `time_s`.
    pub time_synchronised: bool,
    /// Seconds between its clock and the one here, when it was asked; 0 for a recorded host.
    pub clock_off_s: u64,
    /// Who we are: `root`, or a user whom sudo lets do everything.
    pub user: String,
    /// The ports on which ssh answers, all that apply to this session: `SSH_CONNECTION`, sshd -T,
    /// what listens, ssh.socket. Never empty on a host that was reached by ssh.
    pub ssh_ports: Vec<u16>,
    /// What listens: address, port, program.
    pub listeners: Vec<Listener>,
    /// Packages among those asked for that are installed.
    pub packages: Vec<String>,
    /// Addresses of the host itself.
    pub addresses: Vec<IpAddr>,
    /// ufw, as it is.
    pub firewall: Firewall,
    /// Ports that Docker publishes on all addresses: they bypass ufw.
    pub docker_ports: Vec<u16>,
    /// Whose they are, as far as Docker says.
    pub docker_names: Vec<(u16, String)>,
    /// What the names of the site resolve to, as seen from here.
    pub dns: Vec<Resolved>,
    /// Files that a plan may write, as they are: every path that was asked for is here.
    pub files: Vec<File>,
    /// Units that were asked for: name, enabled, active.
    pub units: Vec<Unit>,
    /// `server_name`s of other Nginx sites that are enabled: name and file.
    pub nginx_names: Vec<(String, String)>,
    /// Files of Nginx that have a default server.
    pub nginx_defaults: Vec<String>,
    /// `nginx -v`'s first two numbers, if it is there.
    pub nginx_version: Option<(u32, u32)>,
    /// Those of the one that the host's package lists offer, if it is not there and they know.
    pub nginx_offered: Option<(u32, u32)>,
    /// Debian's sample site is switched on, as it came with the package.
    pub nginx_stock_default: bool,
    /// The kernel has IPv6.
    pub ipv6: bool,
    /// Names of the secrets that are set; what they are never leaves the host.
    pub secrets: Vec<String>,
    /// Releases of this application, oldest first, and which one is current.
    pub releases: Vec<String>,
    /// How they are run, as far as the host says.
    pub release_runs: Vec<ReleaseRuns>,
    /// The one in use.
    pub current: Option<String>,
    /// The one that served before it.
    pub previous: Option<String>,
    /// The application's port on 127.0.0.1, if it has been deployed before.
    pub app_port: Option<u16>,
    /// Runs of ours in the journal, oldest first.
    pub runs: Vec<String>,
    /// A run of ours that was not finished: its name.
    pub unfinished: Option<String>,
    /// What a certificate on the host says: names and last second, if there is one.
    pub certificate: Option<HostCertificate>,
}

impl Facts {
    /// The file as it is, if it was asked for.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The unit as it is, if it was asked for.
    #[must_use]
    pub fn unit(&self, name: &str) -> Option<&Unit> {
        self.units.iter().find(|unit| unit.name == name)
    }

    /// The first number of the system's version; 0 if it has none.
    #[must_use]
    pub fn system_major(&self) -> u32 {
        let first = self.system_version.split('.').next();
        first.and_then(|first| first.parse().ok()).unwrap_or(0)
    }

    /// Whether the package is installed, if it was asked for.
    #[must_use]
    pub fn has_package(&self, name: &str) -> bool {
        self.packages.iter().any(|package| package == name)
    }

    /// Where a name leads to.
    #[must_use]
    pub fn leads(&self, name: &str) -> Leads {
        let Some(resolved) = self.dns.iter().find(|resolved| resolved.name == name) else {
            return Leads::Unknown;
        };
        let addresses = &resolved.addresses;
        if addresses.is_empty() {
            return Leads::Nowhere;
        }
        let cloudflare = aureon_service::proxies::cloudflare();
        let is_cloudflare = |address: &IpAddr| cloudflare.iter().any(|net| net.contains(*address));
        if addresses.iter().all(is_cloudflare) {
            return Leads::Cloudflare;
        }
        let foreign = addresses
            .iter()
            .filter(|address| !self.addresses.contains(address));
        let foreign: Vec<IpAddr> = foreign.copied().collect();
        match foreign.is_empty() {
            true => Leads::Here,
            false => Leads::Elsewhere(foreign),
        }
    }
}

/// How a release that is kept is run, and asked whether it is healthy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseRuns {
    /// The release.
    pub id: String,
    /// How a program gets its connections; nothing for a site, which aureond serves.
    pub socket: Option<Socket>,
    /// The path that answered 200 when it was deployed.
    pub health_path: String,
    /// Seconds that it had.
    pub health_timeout_s: u32,
}

/// What a name resolves to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The name.
    pub name: String,
    /// Its addresses; none when there is no such name.
    pub addresses: Vec<IpAddr>,
}

/// Where a name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leads {
    /// All its addresses are the host's.
    Here,
    /// All its addresses are Cloudflare's, which asks the host, or another one.
    Cloudflare,
    /// These addresses are not the host's own; behind an address translation it may be reached by
    /// them all the same.
    Elsewhere(Vec<IpAddr>),
    /// There is no such name.
    Nowhere,
    /// Nobody asked.
    Unknown,
}

impl fmt::Display for Leads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => f.write_str("leads to the host"),
            Self::Cloudflare => f.write_str("leads to Cloudflare"),
            Self::Elsewhere(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                write!(
                    f,
                    "leads to {}, which is not the host's own",
                    addresses.join(", ")
                )
            }
            Self::Nowhere => f.write_str("is not known to DNS"),
            Self::Unknown => f.write_str("was not asked for"),
        }
    }
}

/// Something that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// `0.0.0.0`, `::`, `127.0.0.1`, …
    pub address: String,
    /// TCP.
    pub port: u16,
    /// The program's name, as far as it is known.
    pub program: String,
}

/// ufw on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Firewall {
    /// The command exists.
    pub installed: bool,
    /// `Status: active`.
    pub active: bool,
    /// `ufw show added`, a line each.
    pub rules: Vec<String>,
    /// Another firewall that is in use: `firewalld`, `nftables`, `iptables-persistent`.
    pub other: Option<String>,
}

/// A file on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Absolute.
    pub path: String,
    /// Nothing when there is none; of one that is too long to compare a text that says so.
    pub content: Option<Vec<u8>>,
    /// `0644`, as a number; 0 when there is none.
    pub mode: u32,
    /// `root:root`.
    pub owner: String,
    /// Where a symbolic link points.
    pub link: Option<String>,
    /// It is a directory.
    pub directory: bool,
}

impl File {
    /// There is something by this name.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.content.is_some() || self.link.is_some() || self.directory
    }
}

/// A unit of systemd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// `aureon-blog.socket`.
    pub name: String,
    /// Started at boot.
    pub enabled: bool,
    /// Running now.
    pub active: bool,
}

/// A certificate that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCertificate {
    /// Its names.
    pub names: Vec<String>,
    /// Seconds since 1970.
    pub ends_s: u64,
}
