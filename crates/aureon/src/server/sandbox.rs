//! Which files the workers and the threads of the pool may open, enforced by the kernel.
//!
//! Only these threads are confined: the thread that starts the server keeps its rights, so that
//! it can write logs, read another configuration and start another process. Where the kernel has
//! no means for it, the server runs without, and [`Running::is_sandboxed`](super::Running) says so.

use crate::sys::sandbox::{self, Access, Ruleset};
use std::io;
use std::path::{Path, PathBuf};

/// The files that handlers may open; without any rule they may open none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    rules: Vec<(PathBuf, Access)>,
}

impl Sandbox {
    /// Permits nothing yet.
    pub fn new() -> Sandbox {
        Sandbox::default()
    }

    /// Permits reading a file, or everything beneath a directory. What the path names when the
    /// server starts is meant, not what it names later.
    pub fn read(&mut self, path: impl Into<PathBuf>) -> &mut Sandbox {
        self.rules.push((path.into(), Access::Read));
        self
    }

    /// Permits reading, changing, making and removing likewise, but not executing.
    pub fn write(&mut self, path: impl Into<PathBuf>) -> &mut Sandbox {
        self.rules.push((path.into(), Access::Write));
        self
    }

    /// The paths and what is permitted beneath them.
    pub fn rules(&self) -> impl Iterator<Item = (&Path, Access)> {
        self.rules
            .iter()
            .map(|(path, access)| (path.as_path(), *access))
    }

    /// The kernel's form; `None` where the kernel has none.
    pub(super) fn ruleset(&self) -> io::Result<Option<Ruleset>> {
        let Some(version) = sandbox::version() else {
            return Ok(None);
        };
        let ruleset = Ruleset::new(version)?;
        for (path, access) in &self.rules {
            ruleset.allow(path, *access).map_err(|error| {
                let path = path.to_string_lossy();
                let text = ["the sandbox can not permit ", &path, ": "].concat();
                io::Error::new(error.kind(), [&text, error.to_string().as_str()].concat())
            })?;
        }
        Ok(Some(ruleset))
    }
}
