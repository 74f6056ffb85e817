//! The service manager around us, if there is one: what it is told, and what it gave us.
//!
//! systemd's protocols, of which others speak parts: sd_notify(3) for the state and the
//! watchdog, sd_listen_fds(3) for sockets that it opened before us. A manager that can not be
//! told is no reason to stop serving.

use std::env;
use std::time::Duration;

use aureon::sys::notify::{Notifier, monotonic_us};

/// The first descriptor that a manager hands over (sd_listen_fds(3)).
const LISTEN_FDS_START: u32 = 3;

/// Sockets taken over. 64: each is an address and a registration for every worker.
const LISTEN_FDS_MAX: u32 = 64;

/// Variables meant for this process alone: a child must not take them for its own.
pub const OWN_VARIABLES: [&str; 4] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// The manager.
#[derive(Debug, Default)]
pub struct Manager {
    notifier: Option<Notifier>,
    /// Within which time it wants to hear from us.
    pub watchdog: Option<Duration>,
}

impl Manager {
    /// The one that the environment names.
    pub fn from_environment() -> Manager {
        let socket = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let meant = |name: &str| match number(name) {
            Some(pid) => pid == u64::from(std::process::id()),
            None => true,
        };
        let watchdog = number("WATCHDOG_USEC").filter(|us| *us > 0 && meant("WATCHDOG_PID"));
        Manager {
            notifier: (socket.and_then(|name| Notifier::new(&name).ok())).or_else(Notifier::own),
            watchdog: watchdog.map(Duration::from_micros),
        }
    }

    fn tell(&self, text: &str) {
        if let Some(notifier) = &self.notifier {
            // It is gone or does not read: it will notice by itself what that costs it.
            drop(notifier.send(text));
        }
    }

    /// Requests are answered.
    pub fn ready(&self, status: &str) {
        self.tell(&["READY=1\nSTATUS=", status].concat());
    }

    /// The configuration is being read again; [`Manager::ready`] ends that.
    pub fn reloading(&self) {
        let us = crate::value::show_digits(monotonic_us());
        self.tell(&["RELOADING=1\nMONOTONIC_USEC=", &us].concat());
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=finishing what runs");
    }

    /// Another process is the service from now on.
    pub fn handed_over(&self, pid: u32) {
        let pid = crate::value::show_digits(u64::from(pid));
        self.tell(&["MAINPID=", &pid].concat());
    }

    /// Every worker turns.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }
}

/// The sockets that a manager opened for this process, by number.
///
/// # Errors
///
/// The variables make no sense; the text says which.
pub fn sockets() -> Result<Vec<u32>, String> {
    let Some(count) = number("LISTEN_FDS") else {
        return Ok(Vec::new());
    };
    // Without the number, or with another one, they are meant for somebody else.
    if number("LISTEN_PID") != Some(u64::from(std::process::id())) {
        return Ok(Vec::new());
    }
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    if count > LISTEN_FDS_MAX {
        return Err("LISTEN_FDS hands over more than 64 sockets".to_owned());
    }
    let mut sockets = Vec::new();
    for at in 0..count {
        sockets.push(LISTEN_FDS_START + at);
    }
    Ok(sockets)
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}
