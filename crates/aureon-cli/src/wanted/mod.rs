//! What the user asks for: `aureon.toml`'s `[app]` and `[deploy]`, and the command line.
//!
//! The rest of `aureon.toml` is aureond's configuration and is checked by aureond's own reader.
//! Precedence is flags over file over default. Names, paths and ports on the host all follow from
//! the application's name, in one place here.

mod file;
pub mod name;
mod read;

use std::path::PathBuf;

pub use read::{Deployment, Reader, Target};

/// One application on one host.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// `[a-z][a-z0-9-]*`, at most 32 bytes: units, user and directories are named after it.
    pub app: String,
    /// The names that the site answers to; the first is the one of the certificate.
    pub domains: Vec<String>,
    /// Where it lies on this machine: the directory of `aureon.toml`, or of the site.
    pub directory: PathBuf,
    /// What serves.
    pub serves: Serves,
    /// Run here before anything is read, by this machine's shell in `directory`.
    pub build: Option<String>,
    /// Whose certificate.
    pub certificate: Certificate,
    /// The domain points at Cloudflare, which asks the host (the orange cloud).
    pub cloudflare: bool,
    /// Whether ufw is set up and turned on.
    pub firewall: bool,
    /// The path that answers 200 when a release is healthy.
    pub health_path: String,
    /// Seconds until it has to.
    pub health_timeout_s: u32,
    /// Environment of the service, without secrets.
    pub environment: Vec<(String, String)>,
    /// Names of the secrets that the service needs; `aureon env set` puts them on the host, and
    /// nothing else knows them.
    pub secrets: Vec<String>,
    /// How many releases are kept, the present one among them. 5.
    pub keep: usize,
    /// The port of the service on 127.0.0.1; without one the first that is free from 8080 on, or
    /// the one it already has.
    pub port: Option<u16>,
}

/// What answers requests on the host.
#[derive(Debug, Clone)]
pub enum Serves {
    /// aureond, with a directory of files and its configuration.
    Site {
        /// The files.
        root: PathBuf,
        /// aureond's own lines of `aureon.toml`.
        configuration: String,
    },
    /// A program of the user's.
    Program {
        /// Words of the command; the first is a file of the release.
        command: Vec<String>,
        /// Files and directories that belong to the release.
        files: Vec<PathBuf>,
        /// How it gets its connections.
        socket: Socket,
    },
}

/// How a program is given its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Socket {
    /// systemd opens the socket and hands it over as descriptor 3 (`LISTEN_FDS`): no connection is
    /// refused while releases change.
    Inherited,
    /// It opens the port in `PORT` itself: a new release gets another port, and Nginx goes over.
    Port,
}

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {
    /// certbot, by HTTP-01 through the webroot.
    Certbot {
        /// Let's Encrypt's address for its letters.
        email: Option<String>,
        /// Another ACME directory than Let's Encrypt's.
        server: Option<String>,
    },
    /// Files that the user has: PEM, on this machine.
    Files {
        /// Leaf first, then intermediates.
        chain: PathBuf,
        /// Never printed, and 0600 on the host.
        key: PathBuf,
    },
    /// Only port 80, for a name that has no certificate yet.
    None,
}

/// Where things are on the host.
#[derive(Debug, Clone)]
pub struct Places {
    app: String,
}

impl Places {
    /// Of this application.
    #[must_use]
    pub fn new(app: &str) -> Self {
        Self {
            app: app.to_owned(),
        }
    }
    /// Content by its SHA-256: `/opt/aureon/objects/ab/cdef…`.
    #[must_use]
    pub fn objects(&self) -> String {
        "/opt/aureon/objects".to_owned()
    }
    /// Releases of all applications: `/opt/aureon/releases/<app>-<time>-<hash>`.
    #[must_use]
    pub fn releases(&self) -> String {
        "/opt/aureon/releases".to_owned()
    }
    /// The link to the release in use.
    #[must_use]
    pub fn current(&self) -> String {
        format!("/opt/aureon/current/{}", self.app)
    }
    /// Configuration and secrets, root's own.
    #[must_use]
    pub fn configuration(&self) -> String {
        format!("/etc/aureon/{}", self.app)
    }
    /// The environment without secrets, for `EnvironmentFile=`: `NAME="value"`, a line each.
    #[must_use]
    pub fn environment(&self) -> String {
        format!("/etc/aureon/{}/environment", self.app)
    }
    /// The secrets, in the same form, 0600; `aureon env` writes it, a plan never does. It may be
    /// missing: `EnvironmentFile=-`.
    #[must_use]
    pub fn secrets(&self) -> String {
        format!("/etc/aureon/{}/secrets.env", self.app)
    }
    /// What the application keeps.
    #[must_use]
    pub fn state(&self) -> String {
        format!("/var/lib/aureon-{}", self.app)
    }
    /// `aureon-<app>.service`.
    #[must_use]
    pub fn service(&self) -> String {
        format!("aureon-{}.service", self.app)
    }
    /// `aureon-<app>.socket`.
    #[must_use]
    pub fn socket(&self) -> String {
        format!("aureon-{}.socket", self.app)
    }
    /// Where certbot keeps the application's certificate, leaf first.
    #[must_use]
    pub fn certbot_chain(&self) -> String {
        format!("/etc/letsencrypt/live/aureon-{}/fullchain.pem", self.app)
    }
    /// For which names a renewal has been rehearsed, a line each: written when it went well.
    #[must_use]
    pub fn rehearsed(&self) -> String {
        format!("/etc/aureon/{}/renewal-rehearsed", self.app)
    }
    /// Nginx's site.
    #[must_use]
    pub fn nginx_site(&self) -> String {
        format!("/etc/nginx/sites-available/aureon-{}", self.app)
    }
}
