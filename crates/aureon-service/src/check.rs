//! `aureond check`: would this configuration serve, and what is in force from where.
//!
//! Looks at what the configuration names (the root, the addresses) without serving, and writes
//! a report for people or as JSON. Serving asks the same questions first, so that what fails
//! here fails there with the same words.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aureon::sys::process::{self, Access};

use crate::address::{self, Address};
use crate::config::Loaded;
use crate::help::{VERSION, push_blanks};
use crate::json::{List, Object};
use crate::machine::{Machine, directory_of, place_of};
use crate::problem::{Exit, Problem, with_error};
use crate::settings::SETTINGS;
use crate::{proxies, sandbox};

/// Why a directory cannot be served, and what to do, with the code to leave with.
pub fn root_problem(root: &Path) -> Option<(Exit, String)> {
    let shown = absolute(root);
    let config = |parts: [&str; 3]| Some((Exit::Config, parts.concat()));
    let (error, advice) = match fs::metadata(root) {
        Ok(metadata) if !metadata.is_dir() => {
            return config(["", &shown, " is no directory; name the one it lies in"]);
        }
        Ok(_) => match (fs::read_dir(root), process::may(root, Access::Enter)) {
            (Err(error), _) => (error, "the user aureond runs as must be able to read it"),
            (Ok(_), Err(error)) => (error, "the user aureond runs as must be able to enter it"),
            (Ok(_), Ok(())) => return None,
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return config(["there is no ", &shown, "; create it or name another"]);
        }
        Err(error) => (error, "the user aureond runs as must be able to enter it"),
    };
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::Denied,
        _ => Exit::Failed,
    };
    let what = with_error(&["cannot read ", &shown], &error);
    Some((exit, [&what, "; ", advice].concat()))
}

/// The path from the top, because a relative one says nothing in a log.
pub fn absolute(path: &Path) -> String {
    let whole = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
    whole.to_string_lossy().into_owned()
}

/// The addresses that will be bound: of those wanted all but the ones that the machine lacks and
/// may lack.
pub fn present_addresses(loaded: &Loaded, wanted: &dyn Fn(&Address) -> bool) -> Vec<Address> {
    let absent = |address: &Address| {
        loaded.optional.contains(address)
            && address::probe(address).is_err_and(|error| address::is_absent(&error))
    };
    let mut present = Vec::new();
    for address in &loaded.addresses {
        if wanted(address) && !absent(address) {
            present.push(address.clone());
        }
    }
    present
}

/// Why a log can not be written to the file that is named, and what to do; creates nothing.
fn log_problem(loaded: &Loaded) -> Option<Problem> {
    if loaded.config.log_file.is_empty() {
        return None;
    }
    let path = Path::new(&loaded.config.log_file);
    // Nothing is opened: a pipe would wait for its reader.
    let allowed = match fs::metadata(path) {
        // It would be made, in a directory that has to be there.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            process::may(&directory_of(path), Access::Write)
        }
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        _ => process::may(path, Access::Write),
    };
    let error = allowed.err()?;
    let shown = absolute(path);
    let what = with_error(&["cannot write the log to ", &shown], &error);
    let fix = match error.kind() {
        io::ErrorKind::NotFound => "create its directory",
        _ => "the user aureond runs as must be able to write there",
    };
    Some(Problem::of(place_of(loaded, "log_file"), &[&what], &[fix]))
}

/// Why a configuration would not serve, but for its addresses, with the codes to leave with.
/// Serving asks first too, so that it fails with the same words.
pub fn problems(loaded: &Loaded) -> Vec<(Exit, Problem)> {
    let mut found = Vec::new();
    if let Some((exit, what)) = loaded.config.root.as_deref().and_then(root_problem) {
        found.push((exit, Problem::of(place_of(loaded, "root"), &[&what], &[])));
    }
    for look in [sandbox::problem, proxies::ranges_problem, log_problem] {
        if let Some(wrong) = look(loaded) {
            found.push((Exit::Config, wrong));
        }
    }
    found
}

/// Who has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody: it can be bound.
    Nobody,
    /// The service that runs, which a reload or a restart leaves it to.
    Service,
    /// Somebody else, or it can not be bound for another reason.
    Other,
}

impl Holder {
    const fn name(self) -> &'static str {
        match self {
            Holder::Nobody => "free",
            Holder::Service => "the running service has it",
            Holder::Other => "cannot be bound",
        }
    }
}

/// What a look at the machine found.
#[derive(Debug)]
pub struct Report {
    /// Each address, and who has it.
    pub addresses: Vec<(Address, Holder)>,
    /// Why it would not serve, with the code to leave with.
    pub problems: Vec<(Exit, Problem)>,
    /// What will go otherwise than the configuration sounds, though it serves.
    pub warnings: Vec<Problem>,
    /// The sandbox, in a line.
    pub sandbox: String,
}

impl Report {
    /// Looks. `running` is what the service that runs tells of itself as JSON, or empty.
    pub fn new(loaded: &Loaded, running: &[u8]) -> Report {
        let mut problems = problems(loaded);
        let mut addresses = Vec::new();
        let mut look = |address: &Address, key: &str| {
            let Err(error) = address::probe(address) else {
                return Holder::Nobody;
            };
            let its_own = ["\"", &url(address), "\""].concat();
            // Its whole report is looked through: nothing else in it looks like an address.
            let tells_of = |text: &[u8]| running.windows(text.len()).any(|part| part == text);
            let taken = error.kind() == io::ErrorKind::AddrInUse;
            if taken && !running.is_empty() && (key == "admin" || tells_of(its_own.as_bytes())) {
                return Holder::Service;
            }
            let what = address::explain(address, &error);
            let problem = Problem::of(place_of(loaded, key), &[&what], &[]);
            problems.push((address::exit_of(&error), problem));
            Holder::Other
        };
        for address in present_addresses(loaded, &|_| true) {
            let holder = look(&address, "listen");
            addresses.push((address, holder));
        }
        for address in &loaded.admin {
            look(address, "admin");
        }
        Report {
            addresses,
            problems,
            warnings: Machine::here().warnings(loaded),
            sandbox: sandbox::describe(&loaded.config),
        }
    }

    /// How the check ends: as serving would, with the first problem.
    pub fn exit(&self) -> Exit {
        self.problems.first().map_or(Exit::Fine, |first| first.0)
    }

    /// Writes the report for people.
    pub fn write_text(&self, loaded: &Loaded) -> String {
        let mut out = String::from(VERSION);
        out.push_str("\nSetting, value, source:\n");
        for (setting, place) in SETTINGS.iter().zip(&loaded.places) {
            let shown = setting.show(&loaded.config);
            pad(&mut out, setting.key, 30);
            pad(&mut out, if shown.is_empty() { "-" } else { &shown }, 22);
            out.push_str(&place.show());
            out.push('\n');
        }
        out.push_str("\nServes ");
        match &loaded.config.root {
            Some(root) => out.push_str(&absolute(root)),
            None => out.push_str("the built-in page"),
        }
        out.push_str(" on\n");
        for (address, holder) in &self.addresses {
            pad(&mut out, &url(address), 30);
            out.push_str(holder.name());
            if loaded.proxied.contains(address) {
                out.push_str(", with PROXY headers");
            }
            out.push('\n');
        }
        out.push_str("\nSandbox: ");
        out.push_str(&self.sandbox);
        out.push_str("\n\n");
        for (_, problem) in &self.problems {
            push_problem(&mut out, "aureond: ", problem);
        }
        for warning in &self.warnings {
            push_problem(&mut out, "warning: ", warning);
        }
        if self.exit() == Exit::Fine {
            out.push_str("The configuration is fine.\n");
        }
        out
    }

    /// Writes the report as one JSON object.
    pub fn write_json(&self, loaded: &Loaded) -> Vec<u8> {
        let settings = write_settings_json(loaded);
        let mut addresses = List::default();
        for (address, holder) in &self.addresses {
            let mut object = Object::new(addresses.element());
            object.string("address", url(address));
            object.bool("free", *holder == Holder::Nobody);
            object.bool("held_by_service", *holder == Holder::Service);
            object.bool("proxy_protocol", loaded.proxied.contains(address));
            object.end();
        }
        let problems = write_problems(&mut self.problems.iter().map(|(_, problem)| problem));
        let warnings = write_problems(&mut self.warnings.iter());
        let mut out = Vec::new();
        let mut object = Object::new(&mut out);
        object.bool("ok", self.exit() == Exit::Fine);
        object.string("version", env!("CARGO_PKG_VERSION"));
        if let Some(file) = &loaded.file {
            object.string("file", file);
        }
        if let Some(root) = &loaded.config.root {
            object.string("root", absolute(root));
        }
        object.string("sandbox", &self.sandbox);
        object.raw("settings", &settings);
        object.raw("addresses", &addresses.end());
        object.raw("problems", &problems);
        object.raw("warnings", &warnings);
        object.end();
        out.push(b'\n');
        out
    }
}

fn push_problem(out: &mut String, kind: &str, problem: &Problem) {
    out.push_str(kind);
    out.push_str(&problem.show());
    out.push('\n');
}

fn write_problems(problems: &mut dyn Iterator<Item = &Problem>) -> Vec<u8> {
    let mut list = List::default();
    for problem in problems {
        list.string(&problem.show());
    }
    list.end()
}

fn write_settings_json(loaded: &Loaded) -> Vec<u8> {
    let mut list = List::default();
    for (setting, place) in SETTINGS.iter().zip(&loaded.places) {
        let mut object = Object::new(list.element());
        object.string("key", setting.key);
        object.string("value", setting.show(&loaded.config));
        object.string("source", place.show());
        object.end();
    }
    list.end()
}

/// The configuration in force with the source of each value.
pub fn write_config_json(loaded: &Loaded) -> String {
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    if let Some(file) = &loaded.file {
        object.string("file", file);
    }
    object.raw("settings", &write_settings_json(loaded));
    object.end();
    out.push(b'\n');
    // The writer makes valid text of whatever it is given.
    String::from_utf8_lossy(&out).into_owned()
}

/// The same report when the configuration could not even be read.
pub fn write_problems_json(problems: &[Problem]) -> Vec<u8> {
    let list = write_problems(&mut problems.iter());
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    object.bool("ok", false);
    object.string("version", env!("CARGO_PKG_VERSION"));
    object.raw("problems", &list);
    object.end();
    out.push(b'\n');
    out
}

/// What to open in a browser; a Unix socket as it was written.
pub fn url(address: &Address) -> String {
    match address {
        Address::Ip(_) => ["http://", &address.show()].concat(),
        Address::Unix(_) => address.show(),
    }
}

pub(crate) fn pad(out: &mut String, text: &str, width: usize) {
    out.push_str("  ");
    out.push_str(text);
    let used = text.chars().count();
    push_blanks(out, width.saturating_sub(used).max(1));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Given, Inputs, load};
    use crate::settings::find;

    fn loaded(flags: &[(&str, &str)]) -> Box<Loaded> {
        let flags = flags.iter().map(|(key, text)| Given {
            setting: find(key).unwrap(),
            flag: "DIR".into(),
            text: (*text).to_owned(),
        });
        load(&Inputs {
            flags: flags.collect(),
            ..Inputs::default()
        })
        .unwrap()
    }

    #[test]
    fn a_sound_configuration_is_fine_in_both_forms() {
        let loaded = loaded(&[("listen", "127.0.0.1:0"), ("root", ".")]);
        let report = Report::new(&loaded, b"");
        assert_eq!(report.exit(), Exit::Fine);
        let text = report.write_text(&loaded);
        assert!(
            text.contains("http://127.0.0.1:0            free\n"),
            "{text}"
        );
        assert!(
            text.contains("idle_timeout                    1m "),
            "{text}"
        );
        let json: serde_json::Value = serde_json::from_slice(&report.write_json(&loaded)).unwrap();
        assert_eq!(json["ok"], true);
        assert_eq!(json["settings"].as_array().unwrap().len(), SETTINGS.len());
        assert_eq!(json["settings"][0]["source"], "DIR");
        assert_eq!(json["addresses"][0]["free"], true);
    }

    #[test]
    fn a_root_that_is_missing_or_a_file_is_wrong_configuration() {
        let loaded = loaded(&[("listen", "127.0.0.1:0"), ("root", "no/such/directory")]);
        let report = Report::new(&loaded, b"");
        assert_eq!(report.exit(), Exit::Config);
        let json: serde_json::Value = serde_json::from_slice(&report.write_json(&loaded)).unwrap();
        assert_eq!(json["ok"], false);
        let problem = json["problems"][0].as_str().unwrap();
        let whole = absolute(Path::new("no/such/directory"));
        assert!(problem.starts_with(&["DIR: there is no ", &whole].concat()));
        assert!(
            root_problem(Path::new("Cargo.toml"))
                .unwrap()
                .1
                .contains("is no directory")
        );
        assert_eq!(root_problem(Path::new("src")), None);
    }

    #[test]
    fn a_taken_port_has_a_code_of_its_own() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap().to_string();
        let loaded = loaded(&[("listen", &address)]);
        let report = Report::new(&loaded, b"");
        assert_eq!(report.exit(), Exit::Taken);
        assert!(
            report
                .write_text(&loaded)
                .contains("another process listens there")
        );
    }
}
