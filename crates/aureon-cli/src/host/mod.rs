//! A machine that answers POSIX shell scripts: the one door to the host.
//!
//! `Ssh` is the system's OpenSSH client, so that configuration, agent and known hosts are the
//! user's own; `Recorded` is a file of facts, for plans without a host. Scripts run as root, with
//! `sh`, whole or not at all: a script that arrived in part does nothing.

use std::fmt;
use std::io::Read;

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
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "the host can not be reached: {why}"),
            Self::Lost(why) => write!(f, "the connection to the host was lost: {why}"),
            Self::Client(error) => write!(f, "ssh can not be run: {error}"),
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
}
