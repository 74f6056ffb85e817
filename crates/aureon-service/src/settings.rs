//! The one table of settings, and the configuration it fills.
//!
//! A row of [`SETTINGS`] is a setting's only description: its key in the file is its flag
//! (`idle_timeout` is `--idle-timeout`) and its environment variable (`AUREON_IDLE_TIMEOUT`),
//! and help, `check`, the error messages and the example file's test all read it. Defaults live
//! in [`Config::default`] and the engine's `Limits`, never here a second time. A field of
//! `Limits` has its own name as key, without `_ms`: a value says its unit itself.

use std::path::{Path, PathBuf};

use aureon::Limits;
use aureon::limits::HEAD_BYTES_CEILING;

use crate::logging::Level;
use crate::value::{Kind, Value};

/// Everything an operator can set, with the values in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Addresses as written: `localhost`, `0.0.0.0:80`, `[::]`, `unix:/run/aureon.sock`, each
    /// with ` proxy_protocol` behind it when connections there begin with a PROXY header.
    pub listen: Vec<String>,
    /// Port of every address that names none.
    pub port: u16,
    /// Directory served; none is the page built into the binary.
    pub root: Option<PathBuf>,
    /// Threads that serve; zero is one per available processor.
    pub workers: usize,
    /// Whether `/api/…` is answered.
    pub api: bool,
    /// The text of `/api/status` and `/api/message`.
    pub message: String,
    /// Value of `Access-Control-Allow-Origin` on the API; `none` sends none.
    pub cors_origin: String,
    /// Whether a directory without an index file is listed.
    pub listing: bool,
    /// Whether unknown pages are answered with the root's `index.html`.
    pub spa: bool,
    /// Whether text is compressed on the fly when no compressed sibling exists.
    pub gzip: bool,
    /// Whether `aureon::app::SecurityHeaders` are sent with answers of routes and files.
    pub security_headers: bool,
    /// Peers whose word about their clients is believed: networks, `loopback`, `private`, `unix`.
    pub trusted_proxies: Vec<String>,
    /// The field in which those name the client: `x-forwarded-for` or `forwarded`.
    pub client_address_from: String,
    /// The content delivery network in front: `none` or `cloudflare`.
    pub behind: String,
    /// File of that network's ranges; none is the list in the program.
    pub cloudflare_ranges: String,
    /// Where the admin listener is: addresses, `auto` or `off`.
    pub admin: Vec<String>,
    /// Form of the access log: `auto`, `pretty`, `json`, `combined` or `off`.
    pub log: String,
    /// What is logged at least: `error`, `warn` or `info`.
    pub log_level: String,
    /// Milliseconds from which on an exchange is slow, and said to be; zero is never.
    pub log_slow_ms: u32,
    /// File that the log goes to; none is standard output.
    pub log_file: String,
    /// Bytes of that file before another one is begun.
    pub log_file_bytes_max: u64,
    /// Old files that are kept.
    pub log_files_max: u64,
    /// Whether exchanges of health checks are logged.
    pub log_health: bool,
    /// Milliseconds between `/readyz` saying no and the listeners closing.
    pub drain_delay_ms: u32,
    /// Whether the kernel confines handlers to their files: `auto`, `on` or `off`.
    pub sandbox: String,
    /// Absolute paths that handlers may read and write besides the root.
    pub sandbox_paths: Vec<String>,
    /// The engine's bounds.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: vec!["localhost".to_owned()],
            port: 8080,
            root: None,
            workers: 0,
            api: true,
            message: "Hello from AUREON".to_owned(),
            cors_origin: "*".to_owned(),
            listing: false,
            spa: false,
            gzip: true,
            security_headers: true,
            trusted_proxies: Vec::new(),
            client_address_from: "x-forwarded-for".to_owned(),
            behind: "none".to_owned(),
            cloudflare_ranges: String::new(),
            admin: vec!["auto".to_owned()],
            log: "auto".to_owned(),
            log_level: "info".to_owned(),
            log_slow_ms: 1_000,
            log_file: String::new(),
            log_file_bytes_max: 64 << 20,
            log_files_max: 5,
            log_health: false,
            drain_delay_ms: 0,
            sandbox: "auto".to_owned(),
            sandbox_paths: Vec::new(),
            limits: Limits::DEFAULT,
        }
    }
}

/// One row of the table.
#[derive(Debug)]
pub struct Setting {
    /// Its name everywhere.
    pub key: &'static str,
    /// Its one-letter flag, if it has one.
    pub short: Option<char>,
    /// What it takes.
    pub kind: Kind,
    /// One line for help.
    pub help: &'static str,
    field: fn(&Config) -> &dyn Field,
    field_mut: fn(&mut Config) -> &mut dyn Field,
}

/// A field of the configuration, as the table sees it.
trait Field {
    fn get(&self) -> Value;
    /// Stores a value that the setting's kind has accepted; another is left.
    fn set(&mut self, value: Value);
}

macro_rules! fields {
    ($($type:ty: $variant:ident),*) => {
        $(impl Field for $type {
            fn get(&self) -> Value {
                Value::$variant(self.clone())
            }

            fn set(&mut self, value: Value) {
                if let Value::$variant(value) = value {
                    *self = value;
                }
            }
        })*
    };
}

fields! { bool: Bool, u64: Number, String: Text, Vec<String>: List }

/// The kind's range lies within the field's type, which a test checks; so nothing is lost.
macro_rules! narrow_fields {
    ($($type:ty),*) => {
        $(impl Field for $type {
            fn get(&self) -> Value {
                Value::Number(u64::try_from(*self).unwrap_or(u64::MAX))
            }

            fn set(&mut self, value: Value) {
                if let Value::Number(value) = value {
                    *self = value.try_into().unwrap_or(*self);
                }
            }
        })*
    };
}

narrow_fields! { u16, u32, usize }

/// A path; none is written as nothing.
impl Field for Option<PathBuf> {
    fn get(&self) -> Value {
        let path = self.as_deref().unwrap_or(Path::new(""));
        Value::Text(path.to_string_lossy().into_owned())
    }

    fn set(&mut self, value: Value) {
        if let Value::Text(path) = value {
            *self = Some(PathBuf::from(path));
        }
    }
}

impl Setting {
    /// `--idle-timeout` for `idle_timeout`.
    pub fn flag(&self) -> String {
        ["--", &self.key.replace('_', "-")].concat()
    }

    /// `AUREON_IDLE_TIMEOUT` for `idle_timeout`.
    pub fn variable(&self) -> String {
        ["AUREON_", &self.key.to_ascii_uppercase()].concat()
    }

    /// Reads it from a configuration.
    pub fn get(&self, config: &Config) -> Value {
        (self.field)(config).get()
    }

    /// Stores a value that `kind` has accepted.
    pub fn set(&self, config: &mut Config, value: Value) {
        (self.field_mut)(config).set(value);
    }

    /// The value in `config`, as a person would write it.
    pub fn show(&self, config: &Config) -> String {
        self.kind.show(&self.get(config))
    }
}

/// The row of a key.
pub fn find(key: &str) -> Option<usize> {
    SETTINGS.iter().position(|setting| setting.key == key)
}

macro_rules! setting {
    ($key:literal, $short:expr, $kind:expr, $($field:ident).+, $help:literal) => {
        Setting {
            key: $key,
            short: $short,
            kind: $kind,
            help: $help,
            field: |config| &config.$($field).+,
            field_mut: |config| &mut config.$($field).+,
        }
    };
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const HOUR: u64 = 3_600_000;
/// A deadline below 10 ms refuses honest clients; one above a day bounds nothing.
const DEADLINE: Kind = Kind::Duration(10, 24 * HOUR);

/// All settings, in the order of help.
pub const SETTINGS: &[Setting] = &[
    setting! { "listen", Some('l'), Kind::List, listen,
    "IP[:PORT], localhost, unix:PATH [proxy_protocol]" },
    setting! { "port", Some('p'), Kind::Count(0, 65_535), port,
    "Port of addresses that name none; also PORT" },
    setting! { "root", None, Kind::Path, root,
    "Directory to serve, like DIR; none is the built-in page" },
    setting! { "workers", None, Kind::CountOrAuto(1_024), workers,
    "Threads that serve; auto is one per processor" },
    setting! { "api", None, Kind::Bool, api,
    "Answer /api/status, /api/message and /api/greet" },
    setting! { "message", None, Kind::Text(1_024), message,
    "Text of /api/status and /api/message" },
    setting! { "cors_origin", None, Kind::Text(256), cors_origin,
    "Web sites that may read the API; * any, none no" },
    setting! { "listing", None, Kind::Bool, listing,
    "List directories that have no index.html" },
    setting! { "spa", None, Kind::Bool, spa,
    "Answer unknown pages with /index.html" },
    setting! { "gzip", None, Kind::Bool, gzip,
    "Compress text when no compressed sibling exists" },
    setting! { "security_headers", None, Kind::Bool, security_headers,
    "Send nosniff, frame, opener and referrer policies" },
    setting! { "trusted_proxies", None, Kind::List, trusted_proxies,
    "Whose X-Forwarded-For is believed: networks, loopback" },
    setting! { "client_address_from", None, Kind::Choice(&["x-forwarded-for", "forwarded"]),
    client_address_from,
    "The field in which those name the client" },
    setting! { "behind", None, Kind::Choice(&["none", "cloudflare"]), behind,
    "The network in front, whose own field is believed" },
    setting! { "cloudflare_ranges", None, Kind::Path, cloudflare_ranges,
    "File of its addresses; the program has a list" },
    setting! { "admin", None, Kind::List, admin,
    "Status and metrics: unix:/PATH, IP:PORT, auto, off" },
    setting! { "log", None, Kind::Choice(&["auto", "pretty", "json", "combined", "off"]),
    log,
    "Form of the log; auto is pretty on a terminal" },
    setting! { "log_level", None, Kind::Choice(&Level::NAMES), log_level,
    "What is logged: failures, slow exchanges too, or all" },
    setting! { "log_slow", None, Kind::Duration(0, HOUR), log_slow_ms,
    "From when on an exchange is slow; 0s is never" },
    setting! { "log_file", None, Kind::Path, log_file,
    "File for the log instead of stdout" },
    setting! { "log_file_bytes_max", None, Kind::Size(4 * KIB, TIB),
    log_file_bytes_max,
    "Bytes of that file before another is begun" },
    setting! { "log_files_max", None, Kind::Count(0, 1_000), log_files_max,
    "Old files that are kept" },
    setting! { "log_health", None, Kind::Bool, log_health,
    "Log health checks too" },
    setting! { "sandbox", None, Kind::Choice(&["auto", "on", "off"]), sandbox,
    "Let the kernel confine handlers; auto: ours only" },
    setting! { "sandbox_paths", None, Kind::List, sandbox_paths,
    "Paths that confined handlers may read and write" },
    setting! { "drain_delay", None, Kind::Duration(0, HOUR), drain_delay_ms,
    "Time between /readyz saying no and the drain" },
    setting! { "drain_timeout", None, DEADLINE, limits.drain_timeout_ms,
    "Time running exchanges get after TERM or INT" },
    setting! { "head_bytes_max", None, Kind::Size(512, HEAD_BYTES_CEILING as u64),
    limits.head_bytes_max,
    "Bytes of a request head; more is a 431" },
    setting! { "head_fields_max", None, Kind::Count(8, 1_000), limits.head_fields_max,
    "Fields in a request head; more is a 431" },
    setting! { "target_bytes_max", None, Kind::Size(64, HEAD_BYTES_CEILING as u64),
    limits.target_bytes_max,
    "Bytes of a request target; more is a 414" },
    setting! { "body_bytes_max", None, Kind::Size(0, 1 << 32), limits.body_bytes_max,
    "Bytes of a body kept in memory; more is a 413" },
    setting! { "upload_bytes_max", None, Kind::Size(0, TIB), limits.upload_bytes_max,
    "Bytes of a body streamed to a handler; more is a 413" },
    setting! { "chunk_extension_bytes_max", None, Kind::Size(0, MIB),
    limits.chunk_extension_bytes_max,
    "Bytes of chunk extensions in a body" },
    setting! { "head_timeout", None, DEADLINE, limits.head_timeout_ms,
    "Time from a head's first byte to its last" },
    setting! { "body_timeout", None, DEADLINE, limits.body_timeout_ms,
    "Time before body_rate_min is demanded of a body" },
    setting! { "body_rate_min", None, Kind::Size(1, MIB), limits.body_rate_min,
    "Bytes a second a body must average then" },
    setting! { "idle_timeout", None, DEADLINE, limits.idle_timeout_ms,
    "Time a connection may stay without a request" },
    setting! { "write_timeout", None, DEADLINE, limits.write_timeout_ms,
    "Time a client may take nothing of an answer" },
    setting! { "answer_timeout", None, DEADLINE, limits.answer_timeout_ms,
    "Time in which a late or blocking answer must come" },
    setting! { "linger_timeout", None, DEADLINE, limits.linger_timeout_ms,
    "Time of reading on after a refusal" },
    setting! { "discard_bytes_max", None, Kind::Size(0, 64 * MIB),
    limits.discard_bytes_max,
    "Bytes of an unwanted body thrown away" },
    setting! { "connections_max", None, Kind::Count(1, 1_000_000),
    limits.connections_max,
    "Connections of the whole server" },
    setting! { "connections_per_address_max", None, Kind::Count(1, 1_000_000),
    limits.connections_per_address_max,
    "Connections of one client address; loopback is free" },
    setting! { "requests_per_connection_max", None, Kind::Count(1, 1_000_000_000),
    limits.requests_per_connection_max,
    "Requests before a connection is closed" },
    setting! { "output_bytes_max", None, Kind::Size(4 * KIB, 64 * MIB),
    limits.output_bytes_max,
    "Bytes of answers held per connection" },
    setting! { "pool_threads_max", None, Kind::Count(1, 1_024), limits.pool_threads_max,
    "Threads for blocking handlers" },
    setting! { "pool_queue_max", None, Kind::Count(1, 1_000_000), limits.pool_queue_max,
    "Jobs waiting for such a thread; more are a 503" },
    setting! { "backlog", None, Kind::Count(1, 65_535), limits.backlog,
    "Connections the kernel holds ready; it may clip this" },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique_and_lower_case() {
        for (at, setting) in SETTINGS.iter().enumerate() {
            assert_eq!(find(setting.key), Some(at), "{} stands twice", setting.key);
            assert!(
                setting
                    .key
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_')
            );
        }
        assert_eq!(
            SETTINGS[find("idle_timeout").unwrap()].flag(),
            "--idle-timeout"
        );
        assert_eq!(
            SETTINGS[find("idle_timeout").unwrap()].variable(),
            "AUREON_IDLE_TIMEOUT"
        );
    }

    #[test]
    fn every_default_is_one_the_setting_itself_accepts() {
        let config = Config::default();
        for setting in SETTINGS
            .iter()
            .filter(|setting| !matches!(setting.kind, Kind::Path))
        {
            let shown = setting.show(&config);
            let read = setting.kind.parse_value(&shown);
            assert_eq!(read, Ok(setting.get(&config)), "{} = {shown}", setting.key);
        }
    }

    #[test]
    fn the_whole_range_of_a_number_fits_its_field() {
        for setting in SETTINGS {
            let (min, max) = match setting.kind {
                Kind::Count(min, max) | Kind::Size(min, max) | Kind::Duration(min, max) => {
                    (min, max)
                }
                Kind::CountOrAuto(max) => (0, max),
                _ => continue,
            };
            for number in [min, max] {
                let mut config = Config::default();
                setting.set(&mut config, Value::Number(number));
                assert_eq!(
                    setting.get(&config),
                    Value::Number(number),
                    "{}",
                    setting.key
                );
            }
        }
    }

    #[test]
    fn every_setting_changes_something_of_its_own() {
        for setting in SETTINGS {
            let mut config = Config::default();
            let value = match setting.get(&config) {
                Value::Bool(value) => Value::Bool(!value),
                Value::Number(value) => Value::Number(value + 1),
                Value::Text(_) => Value::Text("other".into()),
                Value::List(_) => Value::List(vec!["other".into()]),
            };
            setting.set(&mut config, value.clone());
            assert_eq!(setting.get(&config), value, "{}", setting.key);
            let changed = SETTINGS
                .iter()
                .filter(|other| other.get(&config) != other.get(&Config::default()))
                .count();
            assert_eq!(changed, 1, "{}", setting.key);
        }
    }

    #[test]
    fn every_limit_of_the_engine_has_a_row() {
        // `Debug` names every field, so a new limit without a row fails here.
        let shown = format!("{:?}", Limits::DEFAULT);
        let fields = shown
            .trim_start_matches("Limits { ")
            .trim_end_matches(" }")
            .split(", ");
        let mut count = 0;
        for field in fields {
            let name = field.split(':').next().unwrap();
            let key = name.trim_end_matches("_ms");
            assert!(find(key).is_some(), "no setting for limit {name}");
            count += 1;
        }
        assert!(count > 20, "the fields were not read: {shown}");
    }
}
