//! A machine that answers POSIX shell scripts: the one door to the host.
//!
//! [`Ssh`] is the system's OpenSSH client, so that configuration, agent and known hosts are the
//! user's own; [`Recorded`] is a file of facts, for plans without a host. Scripts run as root, with
//! `sh`, whole or not at all: a script that arrived in part does nothing.

mod ssh;

use std::fmt;
use std::io::Read;

use crate::limits::RECORDED_BYTES_MAX;

pub use ssh::{Ssh, SshOptions};

/// What a script left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The script's exit code.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error, at most the last 64 KiB.
    pub stderr: String,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum HostError {
    /// Nobody let us in: what was tried and what the client said.
    Unreachable(String),
    /// The connection ended before the script did. Whether the script went on is not known; the
    /// journal on the host does know.
    Lost(String),
    /// The local OpenSSH client could not be started.
    Client(std::io::Error),
    /// What was to be sent can not be read, or is too long.
    Input(std::io::Error),
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "the host can not be reached: {why}"),
            Self::Lost(why) => write!(f, "the connection to the host was lost: {why}"),
            Self::Client(error) => write!(
                f,
                "ssh can not be run: {error}; install OpenSSH's client, or name it in AUREON_SSH"
            ),
            Self::Input(error) => write!(f, "what was to be sent can not be read: {error}"),
        }
    }
}

impl std::error::Error for HostError {}

/// A machine that runs POSIX shell scripts as root.
pub trait Host {
    /// As the user calls it: `root@203.0.113.7`.
    fn name(&self) -> &str;

    /// Runs `script`. It reads `input` as its standard input; each line that it prints is told to
    /// `told` at once, and all of them are in the answer.
    ///
    /// # Errors
    /// No connection, or one that ended first. A script that fails is an answer, not an error.
    fn run(
        &mut self,
        script: &str,
        input: &mut dyn Read,
        told: &mut dyn FnMut(&str),
    ) -> Result<Answer, HostError>;

    /// Runs `script` through a connection of its own, which shares nothing with any other: that
    /// somebody who comes now is let in is what the firewall's step must know.
    ///
    /// # Errors
    /// As [`Host::run`].
    fn run_anew(&mut self, script: &str) -> Result<Answer, HostError>;

    /// Runs a `script` that has no end of its own: it is to end when its standard input does, which
    /// is when we are gone.
    ///
    /// # Errors
    /// As [`Host::run`].
    fn follow(&mut self, script: &str, told: &mut dyn FnMut(&str)) -> Result<Answer, HostError> {
        self.run(script, &mut std::io::empty(), told)
    }
}

/// A host that is a file: facts that were asked once.
#[derive(Debug, Clone)]
pub struct Recorded {
    name: String,
    /// As the script of facts answered.
    pub text: String,
}

impl Recorded {
    /// Reads `path`, for the host that the user calls `name`.
    ///
    /// # Errors
    /// The file can not be read, or is longer than any facts.
    pub fn read(name: &str, path: &std::path::Path) -> std::io::Result<Self> {
        let mut text = String::new();
        let file = std::fs::File::open(path)?;
        file.take(RECORDED_BYTES_MAX + 1)
            .read_to_string(&mut text)?;
        if text.len() as u64 > RECORDED_BYTES_MAX {
            return Err(std::io::Error::other("longer than any facts"));
        }
        Ok(Self {
            name: name.to_owned(),
            text,
        })
    }
}

impl Host for Recorded {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(
        &mut self,
        _: &str,
        _: &mut dyn Read,
        _: &mut dyn FnMut(&str),
    ) -> Result<Answer, HostError> {
        Err(HostError::Unreachable("it is a recorded one".to_owned()))
    }

    fn run_anew(&mut self, _: &str) -> Result<Answer, HostError> {
        Err(HostError::Unreachable("it is a recorded one".to_owned()))
    }
}
