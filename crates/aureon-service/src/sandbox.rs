//! Which files the service's handlers may open: the setting `sandbox` as rules for the kernel.
//!
//! The service's own handlers read the root and nothing else, so `auto` confines them to it. What
//! a backend's own handlers need nobody can guess; for them the sandbox is asked for by `on`, and
//! `sandbox_paths` names what they read and write. The supervisor is never confined: it reads
//! another configuration, writes the log and starts another process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aureon::Sandbox;
use aureon::sys::sandbox::{self, Access};

use crate::check::absolute;
use crate::config::Loaded;
use crate::machine::place_of;
use crate::problem::{Problem, with_error};
use crate::settings::Config;
use crate::value::show_digits;

/// The rules for a configuration; `None` when the sandbox is off. `own` says that there are
/// handlers or checks that are not the service's.
pub fn rules(config: &Config, own: bool) -> Option<Sandbox> {
    if config.sandbox == "off" || (own && config.sandbox == "auto") {
        return None;
    }
    let mut sandbox = Sandbox::new();
    if let Some(root) = &config.root {
        for path in neighbourhood(root) {
            sandbox.read(path);
        }
    }
    for path in &config.sandbox_paths {
        sandbox.write(path);
    }
    Some(sandbox)
}

/// What has to be readable so that a root still is when it is removed and made again, or when a
/// link on the way to it is switched to a neighbour of its target: a rule is about the directory
/// that a path names at the start, so it is those directories' parents that are named, but never
/// the whole file system.
fn neighbourhood(root: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut add = |path: io::Result<PathBuf>| {
        let Ok(path) = path else { return };
        let above = path.parent().filter(|above| above.parent().is_some());
        let beneath = above.unwrap_or(&path);
        if !found.iter().any(|known| beneath.starts_with(known)) {
            found.push(beneath.to_owned());
        }
    };
    let mut way = PathBuf::new();
    for part in Path::new(&absolute(root)).components() {
        way.push(part);
        if fs::symlink_metadata(&way).is_ok_and(|metadata| metadata.is_symlink()) {
            add(fs::canonicalize(&way));
        }
    }
    add(fs::canonicalize(root));
    found
}

/// What is wrong with `sandbox_paths`.
pub fn problem(loaded: &Loaded) -> Option<Problem> {
    let wrong = |path: &&String| !Path::new(path).is_absolute() || fs::metadata(path).is_err();
    let path = loaded.config.sandbox_paths.iter().find(wrong)?;
    let (what, fix) = match fs::metadata(path) {
        Err(error) if Path::new(path).is_absolute() => (
            with_error(&["cannot look at ", path], &error),
            "create it or name another",
        ),
        _ => (
            ["`sandbox_paths` cannot be relative: ", path].concat(),
            "write it from the top, with a slash",
        ),
    };
    Some(Problem::of(
        place_of(loaded, "sandbox_paths"),
        &[&what],
        &[fix],
    ))
}

/// Why confined workers could not serve a root: they began with other rules.
pub fn outside(sandbox: &Sandbox, root: &Path) -> Option<String> {
    let whole = fs::canonicalize(root).ok()?;
    let covered = sandbox.rules().any(|(path, _)| whole.starts_with(path));
    (!covered).then(|| {
        let shown = absolute(root);
        let advice = " lies outside of the sandbox that the workers began with; a restart takes it";
        ["root: ", &shown, advice].concat()
    })
}

/// One line about it for reports.
pub fn describe(config: &Config) -> String {
    let (Some(sandbox), Some(version)) = (rules(config, false), sandbox::version()) else {
        return match config.sandbox.as_str() {
            "off" => "off".to_owned(),
            _ => "not in force: this kernel has no Landlock".to_owned(),
        };
    };
    let version = show_digits(u64::from(version));
    let mut out = ["Landlock ", &version, ": handlers may open"].concat();
    let mut separator = " ";
    for (path, access) in sandbox.rules() {
        out.push_str(separator);
        out.push_str(&path.to_string_lossy());
        if access == Access::Write {
            out.push_str(" (to write too)");
        }
        separator = ", ";
    }
    if separator == " " {
        out.push_str(" no file");
    }
    if config.sandbox == "auto" {
        out.push_str("; auto, so not with handlers of one's own");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(config: &Config, own: bool) -> Option<Vec<(String, Access)>> {
        let sandbox = rules(config, own)?;
        let shown = sandbox.rules().map(|(path, access)| {
            let path = path.to_string_lossy().into_owned();
            (path, access)
        });
        Some(shown.collect())
    }

    #[test]
    fn auto_confines_only_what_is_known() {
        let mut config = Config::default();
        assert_eq!(paths(&config, false), Some(Vec::new()));
        assert_eq!(paths(&config, true), None);
        config.sandbox = "on".to_owned();
        config.sandbox_paths = vec!["/var/lib/mine".to_owned()];
        let rule = ("/var/lib/mine".to_owned(), Access::Write);
        assert_eq!(paths(&config, true), Some(vec![rule]));
        config.sandbox = "off".to_owned();
        assert_eq!(paths(&config, false), None);
        assert_eq!(describe(&config), "off");
    }
}
