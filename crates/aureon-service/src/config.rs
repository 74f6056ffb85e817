//! The configuration in force, from flags over environment over file over defaults.
//!
//! [`load`] is a function of its inputs: it reads no file, no environment and no arguments, so
//! every rule of precedence is tested without any. It reports all mistakes, not the first, each
//! with its place and the nearest name that exists. [`Inputs::collect`] does the reading.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use crate::address::{self, Address};
use crate::document::{self, Entry, Position, Written};
use crate::machine::place_of;
use crate::problem::{Place, Problem, nearest, order, quote, with_error};
use crate::proxies;
use crate::settings::{self, Config, SETTINGS};
use crate::small_file;
use crate::value::{Kind, Value};

/// The file looked for when none is named.
pub const FILE_NAME: &str = "aureon.toml";

/// Name of the admin socket in a runtime directory.
pub const ADMIN_NAME: &str = "admin.sock";

/// The variable that names the file, like `--config`.
pub const FILE_VARIABLE: &str = "AUREON_CONFIG";

/// A setting given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Row of the table.
    pub setting: usize,
    /// As it was typed, for messages: `--port`, `-p`, `DIR`.
    pub flag: String,
    /// Its value.
    pub text: String,
}

/// What the configuration is made from.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Name and bytes of the file, if there is one.
    pub file: Option<(String, Vec<u8>)>,
    /// Variables, of which `PORT` and those beginning with `AUREON_` matter.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags in the order given.
    pub flags: Vec<Given>,
}

/// A configuration and where each value came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Source of each setting, in the table's order.
    pub places: Vec<Place>,
    /// The file that was read.
    pub file: Option<String>,
    /// What `listen` and `port` come to.
    pub addresses: Vec<Address>,
    /// Those of `addresses` a machine may lack without that being an error.
    pub optional: Vec<Address>,
    /// Those of `addresses` where connections begin with a PROXY header.
    pub proxied: Vec<Address>,
    /// What `admin` comes to.
    pub admin: Vec<Address>,
}

/// Where a configuration is read from, once or again.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The file named by `--config`.
    pub file: Option<String>,
    /// Settings of the command line.
    pub flags: Vec<Given>,
}

impl Source {
    /// Reads and loads.
    ///
    /// # Errors
    ///
    /// Every mistake that was found.
    pub fn load(&self) -> Result<Box<Loaded>, Vec<Problem>> {
        match Inputs::collect(self.file.as_deref(), Vec::new()) {
            Ok(inputs) => load_with(&inputs, &self.flags),
            Err(problem) => Err(vec![problem]),
        }
    }
}

impl Inputs {
    /// Reads the environment and the file: the one named, else `aureon.toml` if it is here.
    pub fn collect(named: Option<&str>, flags: Vec<Given>) -> Result<Inputs, Problem> {
        let mut environment = Vec::new();
        for variable in env::vars_os() {
            environment.push(variable);
        }
        let variable = environment
            .iter()
            .find(|(name, value)| name == FILE_VARIABLE && !value.is_empty());
        let (path, place) = match (named, variable) {
            (Some(path), _) => (
                PathBuf::from(path),
                Some(Place::Flag("--config".to_owned())),
            ),
            (None, Some((_, path))) => (
                PathBuf::from(path),
                Some(Place::Environment(FILE_VARIABLE.to_owned())),
            ),
            (None, None) => (PathBuf::from(FILE_NAME), None),
        };
        let shown = path.to_string_lossy().into_owned();
        let file = match small_file::read(&path) {
            Ok(bytes) => Some((shown, bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && place.is_none() => None,
            Err(error) => {
                let what = with_error(&["cannot read ", &shown], &error);
                let place = place.unwrap_or_else(|| place_in(&shown, (1, 1)));
                let fix = match error.kind() {
                    io::ErrorKind::NotFound => "create it or name another",
                    io::ErrorKind::PermissionDenied => {
                        "the user aureond runs as must be able to read it"
                    }
                    _ => "",
                };
                return Err(Problem::of(place, &[&what], &[fix]));
            }
        };
        Ok(Inputs {
            file,
            environment,
            flags,
        })
    }
}

/// Puts the sources together, the weakest first.
pub fn load(inputs: &Inputs) -> Result<Box<Loaded>, Vec<Problem>> {
    load_with(inputs, &inputs.flags)
}

/// The same with flags that are kept elsewhere.
fn load_with(inputs: &Inputs, flags: &[Given]) -> Result<Box<Loaded>, Vec<Problem>> {
    let mut loader = Loader {
        loaded: Box::new(Loaded {
            config: Config::default(),
            places: vec![Place::Default; SETTINGS.len()],
            file: None,
            addresses: Vec::new(),
            optional: Vec::new(),
            proxied: Vec::new(),
            admin: Vec::new(),
        }),
        problems: Vec::new(),
    };
    if let Some((path, bytes)) = &inputs.file {
        loader.loaded.file = Some(path.clone());
        loader.take_file(path, bytes);
    }
    loader.take_environment(&inputs.environment);
    loader.take_flags(flags);
    loader.resolve_addresses();
    loader.compare_proxies();
    let place = loader.place_of("trusted_proxies");
    proxies::find_problems(&loader.loaded.config, &place, &mut loader.problems);
    loader.resolve_admin(&inputs.environment);
    loader.compare_limits();
    match loader.problems.is_empty() {
        true => Ok(loader.loaded),
        false => Err(loader.problems),
    }
}

struct Loader {
    loaded: Box<Loaded>,
    problems: Vec<Problem>,
}

fn place_in(path: &str, (line, column): Position) -> Place {
    Place::File {
        path: path.to_owned(),
        line,
        column,
    }
}

fn did_you_mean(name: Option<&str>) -> [&str; 3] {
    match name {
        Some(name) => ["did you mean `", name, "`?"],
        None => ["see --help for all settings", "", ""],
    }
}

/// What is wrong with a setting whose value was found to be this.
fn wrong_value<'a>(key: &'a str, found: &'a str) -> [&'a str; 4] {
    ["`", key, "` cannot be ", found]
}

impl Loader {
    fn report(&mut self, place: Place, what: &[&str], fix: &[&str]) {
        self.problems.push(Problem::of(place, what, fix));
    }

    fn set(&mut self, row: usize, place: Place, value: Value) {
        if let (Some(setting), Some(at)) = (SETTINGS.get(row), self.loaded.places.get_mut(row)) {
            setting.set(&mut self.loaded.config, value);
            *at = place;
        }
    }

    fn take_file(&mut self, path: &str, bytes: &[u8]) {
        let text = match document::parse_text(bytes) {
            Ok(text) => text,
            Err(at) => {
                let what = "the file is not UTF-8 from here on";
                return self.report(place_in(path, at), &[what], &[]);
            }
        };
        let (entries, mistakes) = document::parse_entries(text);
        for mistake in mistakes {
            let place = place_in(path, mistake.at);
            self.report(place, &[&mistake.what], &[mistake.fix]);
        }
        for entry in &entries {
            self.take_entry(path, entry);
        }
        // Mistakes of grammar and of meaning, in the order of the file.
        order(&mut self.problems, |problem| match problem.place {
            Place::File { line, column, .. } => (line, column),
            _ => (0, 0),
        });
    }

    fn take_entry(&mut self, path: &str, entry: &Entry) {
        let Some(row) = settings::find(&entry.key) else {
            let what = ["unknown key `", &entry.key, "`"];
            let known = nearest(&entry.key, SETTINGS.iter().map(|setting| setting.key));
            return self.report(place_in(path, entry.key_at), &what, &did_you_mean(known));
        };
        let kind = &SETTINGS[row].kind;
        match accept(kind, &entry.value) {
            Ok(mut value) => {
                if let (Kind::Path, Value::Text(text)) = (kind, &mut value) {
                    *text = beside(path, text);
                }
                self.set(row, place_in(path, entry.value_at), value);
            }
            Err(fix) => {
                let found = found(&entry.value);
                let what = wrong_value(&entry.key, &found);
                self.report(place_in(path, entry.value_at), &what, &[&fix]);
            }
        }
    }

    fn take_environment(&mut self, environment: &[(OsString, OsString)]) {
        // `PORT` first, so that `AUREON_PORT`, which can only be meant for us, overrides it.
        for wanted in [true, false] {
            for (name, value) in environment {
                if (name == "PORT") == wanted {
                    self.take_variable(&name.to_string_lossy(), value);
                }
            }
        }
    }

    fn take_variable(&mut self, name: &str, value: &OsStr) {
        let row = match name.strip_prefix("AUREON_") {
            _ if name == FILE_VARIABLE => return,
            _ if name == "PORT" => settings::find("port"),
            Some(_) => SETTINGS
                .iter()
                .position(|setting| setting.variable() == name),
            None => return,
        };
        // Set but empty is how compose files and shells say "not set".
        if value.is_empty() {
            return;
        }
        let place = Place::Environment(name.to_owned());
        let Some(row) = row else {
            let mut known = Vec::new();
            for setting in SETTINGS {
                known.push(setting.variable());
            }
            known.push(FILE_VARIABLE.to_owned());
            let fix = did_you_mean(nearest(name, known.iter().map(String::as_str)));
            return self.report(place, &["unknown variable"], &fix);
        };
        match value.to_str() {
            Some(text) => self.take_text(row, place, text),
            None => self.report(place, &["the value is not UTF-8"], &[]),
        }
    }

    fn take_flags(&mut self, flags: &[Given]) {
        for given in flags {
            let row = given.setting;
            let before = self.loaded.places.get(row);
            let repeated = matches!(before, Some(Place::Flag(_)));
            let before = SETTINGS[row].get(&self.loaded.config);
            self.take_text(row, Place::Flag(given.flag.clone()), &given.text);
            // A list's flag may be repeated; together they replace what the file says.
            if let (true, Value::List(mut words)) = (repeated, before)
                && let Value::List(more) = SETTINGS[row].get(&self.loaded.config)
            {
                words.extend(more);
                SETTINGS[row].set(&mut self.loaded.config, Value::List(words));
            }
        }
    }

    fn take_text(&mut self, row: usize, place: Place, text: &str) {
        match SETTINGS[row].kind.parse_value(text) {
            Ok(value) => self.set(row, place, value),
            Err(expected) => {
                let found = quote(text);
                let what = wrong_value(SETTINGS[row].key, &found);
                self.report(place, &what, &["expected ", &expected]);
            }
        }
    }

    fn place_of(&self, key: &str) -> Place {
        place_of(&self.loaded, key)
    }

    /// The addresses, those that may be missing, and those that expect a PROXY header.
    fn resolve_addresses(&mut self) {
        let place = self.place_of("listen");
        let mut port_used = false;
        let listen = std::mem::take(&mut self.loaded.config.listen);
        for word in &listen {
            let loaded = &mut *self.loaded;
            let Some(parsed) = address::parse_address(word, loaded.config.port) else {
                let what = ["`", word, "` is no address"];
                self.report(place.clone(), &what, &[address::EXPECTED]);
                // The port may have been meant for this one.
                port_used = true;
                continue;
            };
            port_used |= parsed.takes_port;
            if parsed.optional_last {
                loaded.optional.extend(parsed.addresses.last().cloned());
            }
            if parsed.proxied {
                loaded.proxied.extend_from_slice(&parsed.addresses);
            }
            loaded.addresses.extend(parsed.addresses);
        }
        if listen.is_empty() {
            self.report(place, &["`listen` names no address"], &[address::EXPECTED]);
        } else if !port_used && strength(&self.place_of("port")) > strength(&place) {
            // A platform that sets PORT looks for us there; serving elsewhere in silence would
            // only show as a failed health check.
            let what = [
                "has no effect: every address of `listen` (",
                &place.show(),
                ") has its port",
            ];
            let fix = "write the addresses without a port";
            self.report(self.place_of("port"), &what, &[fix]);
        }
        self.loaded.config.listen = listen;
    }

    /// A PROXY header is believed of trusted proxies alone, and of nobody it is not asked for.
    fn compare_proxies(&mut self) {
        let place = self.place_of("listen");
        let Loaded {
            config,
            addresses,
            proxied,
            ..
        } = &*self.loaded;
        let count = |all: &[Address], one: &Address| all.iter().filter(|at| *at == one).count();
        let both = |one: &&Address| count(addresses, one) > count(proxied, one);
        if let Some(both) = proxied.iter().find(both) {
            let shown = both.show();
            let what = [
                "`",
                &shown,
                "` stands there with and without proxy_protocol",
            ];
            let fix = "keep one of the two";
            self.problems
                .push(Problem::of(place.clone(), &what, &[fix]));
        }
        if let (Some(first), true) = (proxied.first(), config.trusted_proxies.is_empty()) {
            let what = [
                "`",
                &first.show(),
                "` expects PROXY headers, and `trusted_proxies` names nobody who may send one",
            ];
            let fix = "list the proxy, such as trusted_proxies = [\"10.0.0.2\"]";
            self.problems.push(Problem::of(place, &what, &[fix]));
        }
    }

    /// Where the admin listener is: `auto` is the runtime directory that a service manager made.
    fn resolve_admin(&mut self, environment: &[(OsString, OsString)]) {
        let place = self.place_of("admin");
        let Loaded { config, admin, .. } = &mut *self.loaded;
        for word in &config.admin {
            match word.as_str() {
                "off" => {}
                "auto" => {
                    let own = environment
                        .iter()
                        .find(|(name, _)| name == "RUNTIME_DIRECTORY");
                    // systemd separates several by colons (systemd.exec(5)).
                    let first = own.and_then(|(_, value)| value.to_str()?.split(':').next());
                    if let Some(directory) = first.filter(|first| !first.is_empty()) {
                        admin.push(Address::Unix([directory, "/", ADMIN_NAME].concat()));
                    }
                }
                word => match address::parse_address(word, 0) {
                    Some(parsed) if !parsed.takes_port && !parsed.proxied => {
                        admin.extend(parsed.addresses);
                    }
                    _ => {
                        let what = ["`", word, "` is no admin address"];
                        let fix = "write unix:/run/aureond/admin.sock, 127.0.0.1:9100, auto or off";
                        self.problems
                            .push(Problem::of(place.clone(), &what, &[fix]));
                    }
                },
            }
        }
    }

    fn compare_limits(&mut self) {
        let limits = &self.loaded.config.limits;
        if limits.target_bytes_max > limits.head_bytes_max {
            // The one that was set last is the one to change.
            let (head, target) = (
                self.place_of("head_bytes_max"),
                self.place_of("target_bytes_max"),
            );
            let place = if strength(&target) >= strength(&head) {
                target
            } else {
                head
            };
            let what = "`target_bytes_max` is larger than `head_bytes_max`";
            self.report(place, &[what], &["a target is part of its head"]);
        }
    }
}

fn strength(place: &Place) -> u8 {
    match place {
        Place::Default => 0,
        Place::File { .. } => 1,
        Place::Environment(_) => 2,
        Place::Flag(_) => 3,
    }
}

/// Takes a value of the file for a kind of setting; the error says what would be right.
fn accept(kind: &Kind, written: &Written) -> Result<Value, String> {
    let expected = || ["expected ", &kind.expected()].concat();
    match (kind, written) {
        (Kind::Bool, Written::Bool(value)) => Ok(Value::Bool(*value)),
        (_, Written::Number(number)) => kind.take_number(*number).map_err(|_| expected()),
        (Kind::List, Written::List(items)) => {
            let mut words = Vec::new();
            for item in items {
                let Written::Text(word) = item else {
                    return Err("expected an array of strings".to_owned());
                };
                words.push(word.clone());
            }
            Ok(Value::List(words))
        }
        (Kind::Bool | Kind::Count(..), Written::Text(text)) if kind.parse_value(text).is_ok() => {
            Err(["write it without quotes: ", text].concat())
        }
        (Kind::CountOrAuto(_), Written::Text(text)) if text != "auto" => Err(expected()),
        (Kind::Bool | Kind::Count(..), Written::Text(_)) => Err(expected()),
        (_, Written::Text(text)) => kind.parse_value(text).map_err(|_| expected()),
        (_, Written::Bare(text)) if kind.parse_value(text).is_ok() => {
            Err(["write it in quotes: \"", text, "\""].concat())
        }
        _ => Err(expected()),
    }
}

fn found(written: &Written) -> String {
    match written {
        Written::Text(text) => quote(text),
        Written::Number(Some(number)) => crate::value::show_digits(*number),
        Written::Number(None) => "a number below zero or beyond 64 bits".to_owned(),
        Written::Bool(true) => "true".to_owned(),
        Written::Bool(false) => "false".to_owned(),
        Written::List(_) => "this array".to_owned(),
        Written::Bare(text) => text.clone(),
    }
}

/// A path of the file is meant from where the file is, not from where we were started: the same
/// file must serve the same directory under systemd, in a shell and in a test.
fn beside(file: &str, path: &str) -> String {
    let directory = Path::new(file).parent().unwrap_or(Path::new(""));
    directory.join(path).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Inputs {
        Inputs {
            file: (!file.is_empty()).then(|| ("aureon.toml".to_owned(), file.into())),
            environment: environment
                .iter()
                .map(|(n, v)| (n.into(), v.into()))
                .collect(),
            flags: flags
                .iter()
                .map(|(key, text)| Given {
                    setting: settings::find(key).unwrap(),
                    flag: SETTINGS[settings::find(key).unwrap()].flag(),
                    text: (*text).to_owned(),
                })
                .collect(),
        }
    }

    fn problems(inputs: &Inputs) -> Vec<String> {
        load(inputs)
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    fn place(loaded: &Loaded, key: &str) -> String {
        loaded.places[settings::find(key).unwrap()].to_string()
    }

    #[test]
    fn flags_beat_environment_beats_file_beats_default() {
        let file = "port = 1\nidle_timeout = \"1s\"\nworkers = 3\n";
        let environment = [("AUREON_PORT", "2"), ("AUREON_IDLE_TIMEOUT", "2s")];
        let loaded = load(&inputs(file, &environment, &[("port", "3")])).unwrap();
        assert_eq!(loaded.config.port, 3);
        assert_eq!(place(&loaded, "port"), "--port");
        assert_eq!(loaded.config.limits.idle_timeout_ms, 2_000);
        assert_eq!(place(&loaded, "idle_timeout"), "AUREON_IDLE_TIMEOUT");
        assert_eq!(loaded.config.workers, 3);
        assert_eq!(place(&loaded, "workers"), "aureon.toml:3:11");
        assert_eq!(loaded.config.limits.head_fields_max, 100);
        assert_eq!(place(&loaded, "head_fields_max"), "default");
    }

    #[test]
    fn port_variable_counts_and_our_own_overrides_it() {
        let loaded = load(&inputs("port = 1", &[("PORT", "5000")], &[])).unwrap();
        assert_eq!(loaded.addresses[0].show(), "127.0.0.1:5000");
        let both = [("AUREON_PORT", "7"), ("PORT", "5000")];
        assert_eq!(load(&inputs("", &both, &[])).unwrap().config.port, 7);
        assert_eq!(
            load(&inputs("", &[("PORT", "")], &[])).unwrap().config.port,
            8080
        );
    }

    #[test]
    fn a_port_that_reaches_no_address_is_an_error_when_it_should_win() {
        let file = "listen = \"127.0.0.1:9000\"";
        assert_eq!(
            problems(&inputs(file, &[("PORT", "5000")], &[])),
            [
                "PORT: has no effect: every address of `listen` (aureon.toml:1:10) has its port; \
             write the addresses without a port"
            ]
        );
        // A flag is stronger than the variable, so nothing is lost.
        let flags = [("listen", "127.0.0.1:9000")];
        assert!(load(&inputs("", &[("PORT", "5000")], &flags)).is_ok());
        let open = load(&inputs("listen = [\"0.0.0.0\"]", &[("PORT", "5000")], &[])).unwrap();
        assert_eq!(open.addresses[0].show(), "0.0.0.0:5000");
    }

    #[test]
    fn reports_all_mistakes_of_all_sources_at_once() {
        let file = "lisen = \"x\"\nport = \"80\"\nidle_timeout = 10\nhead_bytes_max = 64KiB\n\
                    api = 1\nlisten = [1]\nbacklog = 0\nworkers = \"4\"\n";
        let environment = [("AUREON_PROT", "1"), ("AUREON_LOG", "xml"), ("HOME", "/")];
        let found = problems(&inputs(file, &environment, &[("root", "")]));
        assert_eq!(
            found,
            [
                "aureon.toml:1:1: unknown key `lisen`; did you mean `listen`?",
                "aureon.toml:2:8: `port` cannot be \"80\"; write it without quotes: 80",
                "aureon.toml:3:16: `idle_timeout` cannot be 10; expected a duration such as 500ms, \
             10s or 2m, from 10ms to 24h",
                "aureon.toml:4:18: `head_bytes_max` cannot be 64KiB; expected a size such as 64KiB \
             or 1MiB, from 512B to 65535B",
                "aureon.toml:5:7: `api` cannot be 1; expected true or false",
                "aureon.toml:6:10: `listen` cannot be this array; expected an array of strings",
                "aureon.toml:7:11: `backlog` cannot be 0; expected a whole number from 1 to 65535",
                "aureon.toml:8:11: `workers` cannot be \"4\"; expected auto or a whole number from \
             1 to 1024",
                "AUREON_PROT: unknown variable; did you mean `AUREON_PORT`?",
                "AUREON_LOG: `log` cannot be \"xml\"; expected one of auto, pretty, json, \
             combined, off",
                "--root: `root` cannot be \"\"; expected a path",
            ]
        );
    }

    #[test]
    fn a_value_that_lacks_its_quotes_is_told_so() {
        let found = problems(&inputs("head_timeout = 10s", &[], &[]));
        let expected =
            "aureon.toml:1:16: `head_timeout` cannot be 10s; write it in quotes: \"10s\"";
        assert_eq!(found, [expected]);
    }

    #[test]
    fn variables_are_upper_case() {
        let found = problems(&inputs("", &[("AUREON_port", "1")], &[]));
        assert_eq!(
            found,
            ["AUREON_port: unknown variable; did you mean `AUREON_PORT`?"]
        );
    }

    #[test]
    fn repeated_flags_of_a_list_add_up_and_replace_the_file() {
        let flags = [("listen", "127.0.0.1:1"), ("listen", "127.0.0.1:2,unix:/x")];
        let loaded = load(&inputs("listen = \"127.0.0.1:9\"", &[], &flags)).unwrap();
        let shown: Vec<String> = loaded.addresses.iter().map(Address::show).collect();
        assert_eq!(shown, ["127.0.0.1:1", "127.0.0.1:2", "unix:/x"]);
    }

    #[test]
    fn a_root_in_the_file_lies_beside_the_file() {
        let mut inputs = inputs("root = \"site\"", &[], &[]);
        assert_eq!(load(&inputs).unwrap().config.root, Some("site".into()));
        inputs.file = Some(("/etc/aureon/aureon.toml".into(), b"root = 'site'".to_vec()));
        assert_eq!(
            load(&inputs).unwrap().config.root,
            Some("/etc/aureon/site".into())
        );
        inputs.file = Some(("/etc/aureon/aureon.toml".into(), b"root = '/srv'".to_vec()));
        assert_eq!(load(&inputs).unwrap().config.root, Some("/srv".into()));
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused() {
        let found = problems(&inputs("head_bytes_max = 1024", &[], &[]));
        assert_eq!(
            found,
            [
                "aureon.toml:1:18: `target_bytes_max` is larger than `head_bytes_max`; a target is \
             part of its head"
            ]
        );
    }

    #[test]
    fn wrong_addresses_and_files_are_refused_with_what_is_right() {
        let found = problems(&inputs("listen = [\":80\"]", &[("PORT", "1")], &[]));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("aureon.toml:1:10: `:80` is no address; write 127.0.0.1"));
        assert!(problems(&inputs("listen = []", &[], &[]))[0].contains("names no address"));
        let mut broken = inputs("x", &[], &[]);
        broken.file = Some(("a.toml".into(), b"port = 1\n# \xff".to_vec()));
        assert_eq!(
            problems(&broken),
            ["a.toml:2:3: the file is not UTF-8 from here on"]
        );
    }

    #[test]
    fn the_example_file_names_every_setting_with_its_default() {
        let example = include_str!("../aureon.example.toml");
        // Each setting stands commented out at its default; uncommented it must load as such.
        let mut live = String::new();
        for line in example.lines() {
            live.push_str(
                line.strip_prefix("#")
                    .filter(|rest| !rest.starts_with(' '))
                    .unwrap_or(line),
            );
            live.push('\n');
        }
        let loaded = load(&inputs(&live, &[], &[])).unwrap();
        for (row, setting) in SETTINGS.iter().enumerate() {
            assert_ne!(
                loaded.places[row],
                Place::Default,
                "{} is missing",
                setting.key
            );
            if !matches!(setting.kind, Kind::Path) {
                let shown = setting.show(&loaded.config);
                assert_eq!(shown, setting.show(&Config::default()), "{}", setting.key);
            }
        }
        // As it ships it changes nothing.
        let shipped = load(&inputs(example, &[], &[])).unwrap();
        assert_eq!(shipped.config, Config::default());
    }
}
