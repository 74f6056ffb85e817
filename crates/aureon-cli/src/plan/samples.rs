//! A wish, a host and golden files, for the tests of what is planned.
//!
//! A golden file is the text as it is; a test that finds another says how to write it anew
//! (`AUREON_GOLDEN=write`), so that a change of it is seen in review.

use super::{Plan, Step};
use crate::facts::Facts;
use crate::wanted::{Certificate, Serves, Wanted};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A site with a certificate of certbot's.
pub(crate) fn wanted() -> Wanted {
    Wanted {
        app: "blog".to_owned(),
        domains: vec!["example.com".to_owned(), "www.example.com".to_owned()],
        directory: PathBuf::from("/home/alice/blog"),
        serves: Serves::Site {
            root: PathBuf::from("public"),
            configuration: String::new(),
        },
        build: None,
        certificate: Certificate::Certbot {
            email: None,
            server: None,
        },
        cloudflare: false,
        firewall: true,
        health_path: "/healthz".to_owned(),
        health_timeout_s: 30,
        environment: Vec::new(),
        secrets: Vec::new(),
        keep: 5,
        port: None,
    }
}

/// A fresh Debian 12.
pub(crate) fn facts() -> Facts {
    Facts {
        system: "debian".to_owned(),
        system_version: "12".to_owned(),
        systemd: 252,
        ssh_ports: vec![22],
        addresses: vec![IpAddr::from([203, 0, 113, 7])],
        time_s: 1_795_608_000,
        ..Facts::default()
    }
}

/// The shell of all steps, each under its id.
pub(crate) fn shell(steps: &[Step]) -> String {
    let step = |step: &Step| format!("# ---- {}\n{}", step.id, step.apply);
    steps.iter().map(step).collect()
}

/// A plan with nothing in it.
pub(crate) fn plan() -> Plan {
    Plan::default()
}

/// Compares with `tests/golden/NAME`.
pub(crate) fn check_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("AUREON_GOLDEN").is_some_and(|what| what == "write") {
        // What could not be written is told below.
        let _ = fs::write(&path, text);
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == text,
        "{name} would change; AUREON_GOLDEN=write writes it. It would be:\n{text}"
    );
}
