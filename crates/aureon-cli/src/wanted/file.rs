//! The tables `[app]` and `[deploy]` of `aureon.toml`.
//!
//! An unknown key and a wrong value are told with file, line and column, and the key that was
//! meant. The keys above the first table are aureond's, whose own reader checks them before any
//! host is touched.

use std::collections::BTreeMap;
use std::path::Path;

use aureon_service::problem::{Place, Problem, nearest};
use serde::Deserialize;
use toml::Spanned;

/// What is served: `[app]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AppTable {
    pub(super) name: Option<Spanned<String>>,
    pub(super) command: Option<Spanned<Vec<String>>>,
    pub(super) build: Option<String>,
    pub(super) files: Option<Vec<String>>,
    pub(super) socket: Option<SocketWord>,
    pub(super) health: Option<Spanned<String>>,
    pub(super) health_timeout: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) environment: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    pub(super) secrets: Vec<Spanned<String>>,
    pub(super) port: Option<Spanned<u16>>,
}

/// `socket`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SocketWord {
    Inherited,
    Port,
}

/// Where it goes: `[deploy]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeployTable {
    #[serde(default)]
    pub(super) hosts: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) domains: Vec<Spanned<String>>,
    pub(super) cloudflare: Option<bool>,
    pub(super) firewall: Option<bool>,
    pub(super) certificate: Option<CertificateWord>,
    pub(super) cert: Option<Spanned<String>>,
    pub(super) key: Option<Spanned<String>>,
    pub(super) email: Option<String>,
    pub(super) acme_server: Option<String>,
    pub(super) keep: Option<Spanned<usize>>,
    pub(super) aureond: Option<String>,
    pub(super) ssh_port: Option<u16>,
    pub(super) identity: Option<String>,
    #[serde(default)]
    pub(super) ssh_options: Vec<String>,
}

/// `certificate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CertificateWord {
    Certbot,
    Files,
    None,
}

#[derive(Debug, Default, Deserialize)]
struct Tables {
    #[serde(default)]
    app: AppTable,
    #[serde(default)]
    deploy: DeployTable,
}

/// A file that was read: its text, and its mistakes so far.
#[derive(Debug)]
pub(super) struct File {
    /// As it is shown.
    pub(super) path: String,
    text: String,
    pub(super) app: AppTable,
    pub(super) deploy: DeployTable,
}

impl File {
    /// Reads the tables of a text.
    ///
    /// # Errors
    /// The first mistake of grammar, an unknown key, a value of the wrong kind.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, Problem> {
        let mut file = Self {
            path: path.display().to_string(),
            text: text.to_owned(),
            app: AppTable::default(),
            deploy: DeployTable::default(),
        };
        match toml::from_str::<Tables>(text) {
            Ok(Tables { app, deploy }) => {
                file.app = app;
                file.deploy = deploy;
                Ok(file)
            }
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                let (what, fix) = explain(error.message());
                Err(file.problem(at, what, fix))
            }
        }
    }

    /// The text as it is.
    pub(super) fn whole(&self) -> &str {
        &self.text
    }

    /// aureond's own lines: everything before the first of the two tables.
    pub(super) fn configuration(&self) -> String {
        let is_ours = |line: &str| {
            let name = line.trim_start().strip_prefix('[')?;
            let name = name.trim_start_matches('[').trim_start();
            let word = |byte: char| byte.is_ascii_alphanumeric() || "-_".contains(byte);
            let end = name.find(|byte| !word(byte)).unwrap_or(name.len());
            Some(["app", "deploy"].contains(&&name[..end]))
        };
        let lines = self.text.split_inclusive('\n');
        lines
            .take_while(|line| is_ours(line) != Some(true))
            .collect()
    }

    /// A mistake at a byte of the text.
    pub(super) fn problem(
        &self,
        at: usize,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) -> Problem {
        let before = self.text.get(..at).unwrap_or_default();
        let count = |number: usize| u32::try_from(number + 1).unwrap_or(u32::MAX);
        let place = Place::File {
            path: self.path.clone(),
            line: count(before.matches('\n').count()),
            column: count(
                before
                    .rsplit('\n')
                    .next()
                    .unwrap_or_default()
                    .chars()
                    .count(),
            ),
        };
        Problem::new(place, what, fix)
    }
}

/// The reader's message in our words: what, and what to write.
fn explain(message: &str) -> (String, String) {
    let message = message.trim();
    let Some((found, expected)) = message.split_once(", expected ") else {
        return (message.to_owned(), String::new());
    };
    // ``unknown field `x`, expected one of `a`, `b` ``
    let quoted = |text: &str| text.split('`').nth(1).map(str::to_owned);
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let kind = ["unknown field", "unknown variant"]
        .iter()
        .find(|kind| found.starts_with(*kind));
    let (Some(kind), Some(word)) = (kind, quoted(found)) else {
        return (found.to_owned(), ["expected ", expected].concat());
    };
    let kind = if kind.ends_with("field") {
        "key"
    } else {
        "word"
    };
    let fix = match nearest(&word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known are {}", known.join(", ")),
    };
    (format!("unknown {kind} `{word}`"), fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<File, String> {
        File::parse(Path::new("aureon.toml"), text).map_err(|problem| problem.to_string())
    }

    #[test]
    fn reads_both_tables_and_leaves_the_rest_to_aureond() {
        let text = "root = \"public\"\n\n[app]\nname = \"blog\"\n[app.environment]\nA = \"1\"\n\
                    [deploy]\nhosts = [\"root@h\"]\ncertificate = \"none\"\n";
        let file = parse(text).unwrap();
        assert_eq!(file.configuration(), "root = \"public\"\n\n");
        assert_eq!(file.app.name.unwrap().get_ref(), "blog");
        assert_eq!(file.app.environment.len(), 1);
        assert_eq!(file.deploy.hosts[0].get_ref(), "root@h");
        assert_eq!(file.deploy.certificate, Some(CertificateWord::None));
        assert_eq!(parse("port = 1").unwrap().configuration(), "port = 1");
        let file = parse("[ deploy ]").unwrap();
        assert_eq!(file.configuration(), "");
    }

    #[test]
    fn mistakes_name_line_column_and_the_key_that_was_meant() {
        let check = |text: &str, expected: &str| {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        };
        check(
            "[app]\nnmae = \"x\"\n",
            "aureon.toml:2:1: unknown key `nmae`; did you mean `name`?",
        );
        check(
            "[app]\nname = \"x\"\n[deploy]\n  hsots = []\n",
            "aureon.toml:4:3: unknown key `hsots`; did you mean `hosts`?",
        );
        check(
            "[app]\nsocket = \"prot\"\n",
            "aureon.toml:2:10: unknown word `prot`; did you mean `port`?",
        );
        check(
            "[deploy]\ncloudflare = \"yes\"\n",
            "aureon.toml:2:14: invalid type: string \"yes\"; expected a boolean",
        );
        assert!(parse("[app\n").unwrap_err().starts_with("aureon.toml:1:"));
    }
}
