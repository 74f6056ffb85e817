//! Reading the configuration again while the service runs.
//!
//! A configuration with a mistake, or a root that can not be served, changes nothing and says
//! why. A good one is in force for the next request of every connection; what only a new process
//! can change is named.

use std::mem;

use aureon::server::Stopper;
use aureon::{Router, Sandbox};

use crate::config::{Loaded, Source};
use crate::logging::Logging;
use crate::routes::{Lasting, build_app};
use crate::sandbox;
use crate::settings::SETTINGS;

/// Settings that a running process can not change: what exists once and is sized at the start.
const FIXED: [&str; 13] = [
    "listen",
    "port",
    "workers",
    "backlog",
    "pool_threads_max",
    "pool_queue_max",
    "admin",
    "log",
    "log_file",
    "log_file_bytes_max",
    "log_files_max",
    "sandbox",
    "sandbox_paths",
];

/// All that a reload needs.
pub struct Reload {
    /// Where the configuration is read from.
    pub source: Source,
    /// The user's own routes; their handlers and state live on.
    pub routes: Router,
    /// What is in force.
    pub loaded: Box<Loaded>,
    /// What no reload replaces.
    pub lasting: Lasting,
    /// The log, whose policy follows the configuration.
    pub logging: Logging,
    /// What the workers are confined to, if they are.
    pub sandbox: Option<Sandbox>,
}

impl Reload {
    /// Reloads, and says what changed: one line for each setting.
    ///
    /// # Errors
    ///
    /// One line for each reason why everything stays as it was.
    pub fn reload(&mut self, stopper: &Stopper) -> Result<Vec<String>, Vec<String>> {
        let mut loaded = self.source.load().map_err(|problems| {
            let mut lines = Vec::new();
            for problem in &problems {
                lines.push(problem.show());
            }
            lines
        })?;
        if let Some(problem) = sandbox::problem(&loaded) {
            return Err(vec![problem.show()]);
        }
        let mut changes = self.changes(&loaded);
        for setting in SETTINGS {
            if FIXED.contains(&setting.key) {
                setting.set(&mut loaded.config, setting.get(&self.loaded.config));
            }
        }
        let app = build_app(self.routes.clone(), &loaded.config, &self.lasting)
            .map_err(|failure| failure.lines)?;
        if let (Some(sandbox), Some(root)) = (&self.sandbox, &loaded.config.root)
            && let Some(reason) = sandbox::outside(sandbox, root)
        {
            return Err(vec![reason]);
        }
        if !stopper.reload(app, loaded.config.limits) {
            changes.push("a worker is held by a handler and follows when that returns".to_owned());
        }
        self.logging.policy.apply(&loaded.config);
        self.replace(&mut loaded);
        Ok(changes)
    }

    /// Puts a configuration in force, but for what a running process can not change: what is told
    /// to be in force is, with where it came from.
    fn replace(&mut self, loaded: &mut Loaded) {
        let places = self.loaded.places.iter_mut().zip(&mut loaded.places);
        for (setting, (place, after)) in SETTINGS.iter().zip(places) {
            if !FIXED.contains(&setting.key) {
                mem::swap(place, after);
            }
        }
        mem::swap(&mut self.loaded.config, &mut loaded.config);
        mem::swap(&mut self.loaded.file, &mut loaded.file);
    }

    fn changes(&self, loaded: &Loaded) -> Vec<String> {
        let mut changes = Vec::new();
        for setting in SETTINGS {
            let (before, after) = (
                setting.show(&self.loaded.config),
                setting.show(&loaded.config),
            );
            if before == after {
                continue;
            }
            let mut line = [setting.key, ": ", &before, " -> ", &after].concat();
            if FIXED.contains(&setting.key) {
                line.push_str(", from the next start on");
            }
            changes.push(line);
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::find;

    #[test]
    fn every_fixed_setting_exists() {
        for key in FIXED {
            assert!(find(key).is_some(), "{key}");
        }
    }
}
