//! What a host is like: one read-only script, and its answer as values.
//!
//! The script asks everything at once, because each round trip costs; it needs nothing beyond a
//! POSIX shell and coreutils, and a program that is missing is a fact. The answer is lines of
//! `name<TAB>value`, values in base64 where they may hold anything, so that it can be kept in a
//! file and read again: a recorded host.

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
    pub addresses: Vec<std::net::IpAddr>,
    /// ufw, as it is.
    pub firewall: Firewall,
    /// Ports that Docker publishes on all addresses: they bypass ufw.
    pub docker_ports: Vec<u16>,
    /// Files that a plan may write, as they are: every path that was asked for is here.
    pub files: Vec<File>,
    /// Units that were asked for: name, enabled, active.
    pub units: Vec<Unit>,
    /// `server_name`s of other Nginx sites that are enabled: name and file.
    pub nginx_names: Vec<(String, String)>,
    /// Releases of this application, oldest first, and which one is current.
    pub releases: Vec<String>,
    /// The one in use.
    pub current: Option<String>,
    /// The application's port on 127.0.0.1, if it has been deployed before.
    pub app_port: Option<u16>,
    /// A run of ours that was not finished: its name.
    pub unfinished: Option<String>,
    /// What a certificate on the host says: names and last second, if there is one.
    pub certificate: Option<HostCertificate>,
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
    /// Nothing when there is none.
    pub content: Option<Vec<u8>>,
    /// `0644`, as a number; 0 when there is none.
    pub mode: u32,
    /// `root:root`.
    pub owner: String,
    /// Where a symbolic link points.
    pub link: Option<String>,
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
