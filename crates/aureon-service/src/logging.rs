//! The log as a whole: where it goes, what is worth a line, and what of that can be changed
//! while the service runs.
//!
//! The service starts it, the observer asks its policy for each exchange, and the supervisor
//! has the file opened again.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::access_log::AccessLog;
use crate::check;
use crate::line::Form;
use crate::log_file::LogFile;
use crate::log_pipe::Standard;
use crate::observer::now_ms;
use crate::problem::{Exit, with_error};
use crate::service::{Failure, failed};
use crate::settings::Config;

/// How long lines may take to leave at the end. 2 s: whoever reads them is stuck.
const PATIENCE: Duration = Duration::from_secs(2);

/// How bad something must be to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// A handler failed, or the machine did.
    Error = 0,
    /// Something took too long.
    Warn = 1,
    /// Everything else.
    Info = 2,
}

impl Level {
    /// The names, in the order of the settings' help.
    pub const NAMES: [&'static str; 3] = ["error", "warn", "info"];

    /// Its name in settings and lines.
    pub const fn name(self) -> &'static str {
        Level::NAMES[self as usize]
    }

    /// The level of a name.
    pub fn parse(name: &str) -> Option<Level> {
        let levels = [Level::Error, Level::Warn, Level::Info];
        levels.into_iter().find(|level| level.name() == name)
    }
}

/// What is worth a line. Workers read it for each exchange, so it is atomics only.
#[derive(Debug)]
pub struct Policy {
    level: AtomicU8,
    slow_us: AtomicU64,
    health: AtomicBool,
}

impl Policy {
    /// As the configuration says.
    pub fn new(config: &Config) -> Policy {
        let policy = Policy {
            level: AtomicU8::new(0),
            slow_us: AtomicU64::new(0),
            health: AtomicBool::new(false),
        };
        policy.apply(config);
        policy
    }

    /// Goes on as another configuration says.
    pub fn apply(&self, config: &Config) {
        // "off" leaves failures: they have no other place to be told.
        let level = match config.log.as_str() {
            "off" => Level::Error,
            _ => Level::parse(&config.log_level).unwrap_or(Level::Info),
        };
        self.set_level(level);
        self.slow_us
            .store(u64::from(config.log_slow_ms) * 1_000, Ordering::Relaxed);
        self.health.store(config.log_health, Ordering::Relaxed);
    }

    /// Changes the level until the next reload.
    pub fn set_level(&self, level: Level) {
        self.level.store(level as u8, Ordering::Relaxed);
    }

    /// The level in force.
    pub fn level(&self) -> Level {
        match self.level.load(Ordering::Relaxed) {
            0 => Level::Error,
            1 => Level::Warn,
            _ => Level::Info,
        }
    }

    /// Whether so long is too long.
    pub fn is_slow(&self, duration_us: u64) -> bool {
        let slow_us = self.slow_us.load(Ordering::Relaxed);
        slow_us > 0 && duration_us >= slow_us
    }

    /// Whether health checks are logged.
    pub fn logs_health(&self) -> bool {
        self.health.load(Ordering::Relaxed)
    }
}

/// The log of a service. Clones are the same log.
#[derive(Clone)]
pub struct Logging {
    /// Where lines go.
    pub log: AccessLog,
    /// Which lines.
    pub policy: Arc<Policy>,
    reopen: Option<Arc<AtomicBool>>,
}

impl Logging {
    /// Opens what the configuration names.
    pub fn start(config: &Config, workers: usize) -> Result<Logging, Failure> {
        let terminal = config.log_file.is_empty() && io::stdout().is_terminal();
        let form = match config.log.as_str() {
            "json" => Form::Json,
            "combined" => Form::Combined,
            "pretty" => Form::Pretty(colours(terminal)),
            // "off" keeps the form that failures are told in.
            _ if terminal => Form::Pretty(colours(terminal)),
            _ => Form::Json,
        };
        let mut reopen = None;
        let sink: Box<dyn io::Write + Send> = if config.log_file.is_empty() {
            Box::new(Standard::open())
        } else {
            let path = Path::new(&config.log_file);
            let (bytes, files) = (config.log_file_bytes_max, config.log_files_max);
            let file = LogFile::open(path, bytes, files).map_err(|error| {
                let shown = check::absolute(path);
                let line = with_error(&["cannot write the log to ", &shown], &error);
                Failure::new(Exit::Config, line)
            })?;
            reopen = Some(file.reopen_flag());
            Box::new(file)
        };
        let log = AccessLog::start(workers, form, sink, now_ms)
            .map_err(|error| failed("cannot start the log", &error))?;
        Ok(Logging {
            log,
            policy: Arc::new(Policy::new(config)),
            reopen,
        })
    }

    /// Opens the log's file again before the next line; false when it has none.
    pub fn reopen(&self) -> bool {
        if let Some(reopen) = &self.reopen {
            reopen.store(true, Ordering::Release);
        }
        self.reopen.is_some()
    }

    /// Writes what is there; false when the reader is stuck and lines are lost.
    pub fn close(&self) -> bool {
        self.log.close(PATIENCE)
    }
}

/// Colours for eyes, unless these asked for none (no-color.org: set and not empty).
fn colours(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_found_by_its_name() {
        for name in Level::NAMES {
            assert_eq!(Level::parse(name).unwrap().name(), name);
        }
        assert_eq!(Level::parse("debug"), None);
    }

    #[test]
    fn a_policy_follows_its_configuration() {
        let mut config = Config::default();
        let policy = Policy::new(&config);
        assert_eq!(policy.level(), Level::Info);
        assert!(policy.is_slow(1_000_000) && !policy.is_slow(999_999));
        config.log_level = "warn".to_owned();
        config.log_slow_ms = 0;
        policy.apply(&config);
        assert_eq!(policy.level(), Level::Warn);
        assert!(!policy.is_slow(u64::MAX), "zero is never");
        config.log = "off".to_owned();
        policy.apply(&config);
        assert_eq!(policy.level(), Level::Error);
    }
}
