//! The command line → a command and the settings given with it.
//!
//! Flags are the rows of the table of settings and a handful of words of our own; help is
//! written from both. Mistakes are collected like those of every other source. The first bare
//! word is a command if it is one of [`COMMANDS`] and otherwise the directory to serve;
//! `aureond ./check` serves a directory that is called like a command.

use std::ffi::OsString;
use std::path::Path;

use crate::completions::SHELLS;
use crate::config::Given;
use crate::explain::Question;
use crate::managed::ACTIONS;
use crate::problem::{Place, Problem, nearest};
use crate::settings::{self, SETTINGS};
use crate::value::Kind;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve until told to stop.
    Serve,
    /// Validate the configuration and say what is in force.
    Check,
    /// Say what would answer a request and why.
    Explain,
    /// Ask the running service whether it is ready.
    Healthcheck,
    /// Tell how the running service is.
    Status,
    /// Have the running service read its configuration again.
    Reload,
    /// Have the running service hand over to a new process.
    Upgrade,
    /// Be a service of Windows, or have its manager do something.
    Service,
    /// Print a shell's completions.
    Completions,
    /// Print help.
    Help,
    /// Print the version.
    Version,
}

/// Every command with its line of help, the default first.
pub const COMMANDS: [(&str, Command, &str); 11] = [
    (
        "serve",
        Command::Serve,
        "Serve DIR, or the built-in page (the default command)",
    ),
    (
        "check",
        Command::Check,
        "Validate the configuration, say what is in force and why",
    ),
    (
        "explain",
        Command::Explain,
        "Say what would answer, and why: explain GET /path [DIR]",
    ),
    (
        "healthcheck",
        Command::Healthcheck,
        "Ask the running service whether it is ready; exits 0 or 1",
    ),
    (
        "status",
        Command::Status,
        "Tell how the running service is, from its admin socket",
    ),
    (
        "reload",
        Command::Reload,
        "Have it read its configuration again, and tell what changed",
    ),
    (
        "upgrade",
        Command::Upgrade,
        "Have it hand over to a new process, and tell whether it did",
    ),
    (
        "service",
        Command::Service,
        "On Windows: service install|start|stop|reload|status|remove",
    ),
    (
        "completions",
        Command::Completions,
        "Print what bash, zsh or fish reads to complete words",
    ),
    ("help", Command::Help, "Print this"),
    ("version", Command::Version, "Print the version"),
];

/// Flags that are no settings: letter, word, placeholder, help.
pub const OWN_FLAGS: [(char, &str, &str, &str); 6] = [
    (
        'c',
        "config",
        "FILE",
        "Configuration file; default aureon.toml, if it is here",
    ),
    ('t', "check", "", "Like the command check"),
    (
        'H',
        "header",
        "FIELD",
        "With explain: a field 'Name: value' of the request",
    ),
    (
        ' ',
        "json",
        "",
        "With commands that report, such as check: as JSON",
    ),
    ('h', "help", "", "Print this"),
    ('V', "version", "", "Print the version"),
];

/// A parsed command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// What to do.
    pub command: Command,
    /// Whether to report as JSON.
    pub json: bool,
    /// What `explain` is asked.
    pub question: Question,
    /// The shell that `completions` is for; what `service` is to do.
    pub topic: String,
    /// The directory that `service run` writes to.
    pub place: String,
    /// The file named by `--config`.
    pub config: Option<String>,
    /// Settings in the order given.
    pub flags: Vec<Given>,
}

/// Parses the arguments, without the program's name.
pub fn parse_arguments(arguments: Vec<OsString>) -> Result<Arguments, Vec<Problem>> {
    let mut reader = Reader {
        words: arguments.into_iter(),
        stuck: None,
        flags_over: false,
        found: Arguments {
            command: Command::Serve,
            json: false,
            question: Question::default(),
            topic: String::new(),
            place: String::new(),
            config: None,
            flags: Vec::new(),
        },
        command_named: false,
        unknown_flag: false,
        problems: Vec::new(),
    };
    while reader.read() {}
    let Reader {
        found,
        mut problems,
        ..
    } = reader;
    // Who asks for help gets it whatever else he typed.
    if matches!(found.command, Command::Help | Command::Version) {
        return Ok(found);
    }
    if found.json && matches!(found.command, Command::Serve | Command::Service) {
        let place = Place::Flag("--json".to_owned());
        let what = "only commands that report have it, such as `check`";
        problems.push(Problem::of(place, &[what], &[]));
    }
    let question = &found.question;
    let asks = found.command == Command::Explain;
    if asks == question.target.is_empty() || !asks && !question.fields.is_empty() {
        let place = Place::Flag("explain".to_owned());
        let fix = "write aureond explain GET /path";
        problems.push(Problem::of(place, &["a path is explained"], &[fix]));
    }
    problems.extend(problem_of_topic(&found));
    if problems.is_empty() {
        Ok(found)
    } else {
        Err(problems)
    }
}

/// What is wrong with the word behind `completions` and `service`, or with what else is there.
fn problem_of_topic(found: &Arguments) -> Option<Problem> {
    let topic = found.topic.as_str();
    let (command, what, fix) = match found.command {
        Command::Completions if !SHELLS.contains(&topic) => {
            ("completions", "a shell is named", "write bash, zsh or fish")
        }
        Command::Service if matches!(topic, "install" | "run") => return None,
        Command::Service if !ACTIONS.contains(&topic) => (
            "service",
            "what to do is named",
            "write install, start, stop, reload, status or remove",
        ),
        Command::Service if found.config.is_some() || !found.flags.is_empty() => {
            ("service", "only `service install` takes settings", "")
        }
        _ => return None,
    };
    let place = Place::Flag(command.to_owned());
    Some(Problem::of(place, &[what], &[fix]))
}

struct Reader {
    words: std::vec::IntoIter<OsString>,
    /// What stands behind a flag in the same word: a value with or without `=`, or letters.
    stuck: Option<String>,
    /// Whether `--` was read.
    flags_over: bool,
    found: Arguments,
    command_named: bool,
    /// Since then a bare word may have been meant as the unknown flag's value.
    unknown_flag: bool,
    problems: Vec<Problem>,
}

impl Reader {
    /// Reads a word, and the next one if it is the value of a flag; false at the end.
    fn read(&mut self) -> bool {
        let Some(word) = self.words.next() else {
            return false;
        };
        let text = word.to_string_lossy();
        if self.flags_over || text == "-" || !text.starts_with('-') {
            self.on_word(word);
        } else if text == "--" {
            self.flags_over = true;
        } else if text.starts_with("--") {
            let (flag, stuck) = text.split_at(text.find('=').unwrap_or(text.len()));
            self.stuck = Some(stuck.to_owned());
            self.on_flag(flag.to_owned());
            self.expect_no_value(flag);
        } else {
            self.read_letters(&text);
        }
        true
    }

    /// `-tp80`: each letter is a flag, until one takes the rest as its value.
    fn read_letters(&mut self, text: &str) {
        let mut letters = text.chars();
        letters.next();
        while let Some(letter) = letters.next() {
            let mut flag = "-".to_owned();
            flag.push(letter);
            self.stuck = Some(letters.as_str().to_owned());
            self.on_flag(flag.clone());
            if self.stuck.is_none() {
                return;
            }
            if letters.as_str().starts_with('=') {
                return self.expect_no_value(&flag);
            }
        }
    }

    /// A value that its flag has not taken is a mistake.
    fn expect_no_value(&mut self, flag: &str) {
        if self.stuck().is_some() {
            self.report(flag, "this flag takes no value", &[]);
        }
    }

    /// The value in the flag's own word, if there is one.
    fn stuck(&mut self) -> Option<OsString> {
        let text = self.stuck.take().filter(|text| !text.is_empty())?;
        let value = text.strip_prefix('=').unwrap_or(&text);
        Some(value.into())
    }

    fn report(&mut self, flag: &str, what: &str, fix: &[&str]) {
        self.problems
            .push(Problem::of(Place::Flag(flag.to_owned()), &[what], fix));
    }

    fn on_flag(&mut self, flag: String) {
        match flag.as_str() {
            "-h" | "--help" => self.found.command = Command::Help,
            "-V" | "--version" => self.turn_to(Command::Version),
            "-t" | "--check" => self.turn_to(Command::Check),
            "-H" | "--header" => self.on_field(&flag),
            "--json" => self.found.json = true,
            "-c" | "--config" => self.found.config = self.value(&flag, "FILE"),
            _ => self.on_setting(flag),
        }
    }

    fn on_field(&mut self, flag: &str) {
        let Some(text) = self.value(flag, "'Name: value'") else {
            return;
        };
        match text.split_once(':') {
            Some((name, value)) => {
                let field = (name.to_owned(), value.trim_ascii().to_owned());
                self.found.question.fields.push(field);
            }
            None => {
                let fix = ["write ", flag, " 'Name: value'"];
                self.report(flag, "a field has a colon", &fix);
            }
        }
    }

    /// Takes the method and the target of the request that is to be explained; GET is understood.
    fn is_question(&mut self, word: &str) -> bool {
        let question = &mut self.found.question;
        if self.found.command != Command::Explain || !question.target.is_empty() {
            return false;
        }
        let is_target = word.starts_with(['/', '*']) || word.contains(':');
        if is_target || !question.method.is_empty() {
            word.clone_into(&mut question.target);
            if question.method.is_empty() {
                "GET".clone_into(&mut question.method);
            }
        } else {
            word.clone_into(&mut question.method);
        }
        true
    }

    fn turn_to(&mut self, command: Command) {
        if self.found.command != Command::Help {
            self.found.command = command;
        }
    }

    fn on_setting(&mut self, flag: String) {
        let named = |wanted: &str| {
            SETTINGS.iter().position(|setting| {
                setting.flag() == wanted
                    || setting.short.is_some_and(|short| {
                        let letter = wanted.strip_prefix('-');
                        letter.and_then(|letter| letter.strip_prefix(short)) == Some("")
                    })
            })
        };
        let negated = flag
            .strip_prefix("--no-")
            .and_then(|name| named(&["--", name].concat()));
        let switch = |row: usize| matches!(SETTINGS[row].kind, Kind::Bool);
        let (setting, text) = match (named(&flag), negated) {
            (Some(row), _) if switch(row) => match self.stuck() {
                Some(value) => (row, self.utf8(&flag, value)),
                None => (row, Some("true".to_owned())),
            },
            (Some(row), _) => (row, self.value(&flag, &SETTINGS[row].kind.placeholder())),
            (None, Some(row)) if switch(row) => (row, Some("false".to_owned())),
            _ => return self.on_unknown(&flag),
        };
        if let Some(text) = text {
            self.found.flags.push(Given {
                setting,
                flag,
                text,
            });
        }
    }

    fn on_unknown(&mut self, flag: &str) {
        self.unknown_flag = true;
        // Its value, if one is stuck to it, is as unknown.
        self.stuck = None;
        let mut known = Vec::new();
        for setting in SETTINGS {
            known.push(setting.flag());
        }
        for (_, own, ..) in OWN_FLAGS {
            known.push(["--", own].concat());
        }
        let near = nearest(flag, known.iter().map(String::as_str));
        let fix = match near.filter(|_| flag.starts_with("--")) {
            Some(near) => ["did you mean `", near, "`?"],
            None => ["see aureond --help", "", ""],
        };
        self.report(flag, "unknown flag", &fix);
    }

    fn value(&mut self, flag: &str, placeholder: &str) -> Option<String> {
        match self.stuck().or_else(|| self.words.next()) {
            Some(value) => self.utf8(flag, value),
            None => {
                let fix = ["write ", flag, " ", placeholder];
                self.report(flag, "the value is missing", &fix);
                None
            }
        }
    }

    fn utf8(&mut self, flag: &str, value: OsString) -> Option<String> {
        let text = value.into_string().ok();
        if text.is_none() {
            self.report(flag, "the value is not UTF-8", &[]);
        }
        text
    }

    fn on_word(&mut self, word: OsString) {
        let Some(word) = self.utf8("DIR", word) else {
            return;
        };
        if self.is_question(&word) {
            return;
        }
        let topical = matches!(self.found.command, Command::Completions | Command::Service);
        if topical && self.found.topic.is_empty() {
            self.found.topic = word;
            return;
        }
        let runs = self.found.command == Command::Service && self.found.topic == "run";
        if runs && self.found.place.is_empty() {
            self.found.place = word;
            return;
        }
        let first = !self.command_named && self.found.flags.iter().all(|given| given.flag != "DIR");
        let command = COMMANDS.iter().find(|(name, ..)| *name == word);
        if let (true, Some((_, command, _))) = (first, command) {
            self.command_named = true;
            self.turn_to(*command);
            return;
        }
        let given = self.found.flags.iter().any(|given| given.flag == "DIR");
        if given && !self.unknown_flag {
            self.report(&word, "one directory is served", &["give a single DIR"]);
            return;
        }
        // A typing mistake in a command must not become "no such directory".
        let near = nearest(&word, COMMANDS.iter().map(|(name, ..)| *name))
            .filter(|_| !word.contains(['/', '\\']));
        if let (true, Some(near), false) = (first, near, Path::new(&word).exists()) {
            let fix = ["did you mean `", near, "`?"];
            self.report(&word, "neither a command nor a directory", &fix);
            return;
        }
        if let Some(setting) = settings::find("root") {
            self.found.flags.push(Given {
                setting,
                flag: "DIR".to_owned(),
                text: word,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, Vec<String>> {
        parse_arguments(words.iter().map(OsString::from).collect())
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    fn flags(words: &[&str]) -> Vec<(String, String)> {
        let flags = parse(words).unwrap().flags;
        flags
            .into_iter()
            .map(|given| (given.flag, given.text))
            .collect()
    }

    #[test]
    fn finds_the_command_wherever_it_can_stand() {
        assert_eq!(parse(&[]).unwrap().command, Command::Serve);
        assert_eq!(parse(&["check", "."]).unwrap().command, Command::Check);
        assert_eq!(parse(&["-t", "."]).unwrap().command, Command::Check);
        assert_eq!(
            parse(&["--port", "1", "check"]).unwrap().command,
            Command::Check
        );
        assert_eq!(
            parse(&["check", "--bogus", "--help"]).unwrap().command,
            Command::Help
        );
        assert_eq!(parse(&["-V"]).unwrap().command, Command::Version);
        assert_eq!(flags(&["./check"]), [("DIR".into(), "./check".into())]);
        assert_eq!(flags(&["serve", "check"]), [("DIR".into(), "check".into())]);
    }

    #[test]
    fn takes_values_in_every_usual_form() {
        let port = |flag: &str| vec![(flag.to_owned(), "1".to_owned())];
        assert_eq!(flags(&["--port", "1"]), port("--port"));
        assert_eq!(flags(&["--port=1"]), port("--port"));
        assert_eq!(flags(&["-p1"]), port("-p"));
        assert_eq!(flags(&["-p", "1"]), port("-p"));
        assert_eq!(flags(&["-p=1"]), port("-p"));
        assert_eq!(flags(&["-tp1"]), port("-p"));
        assert_eq!(parse(&["-tp1"]).unwrap().command, Command::Check);
        let listing = |flag: &str, text: &str| vec![(flag.to_owned(), text.to_owned())];
        assert_eq!(flags(&["--listing"]), listing("--listing", "true"));
        assert_eq!(flags(&["--listing=false"]), listing("--listing", "false"));
        assert_eq!(flags(&["--no-listing"]), listing("--no-listing", "false"));
        assert_eq!(flags(&["--", "--port"]), listing("DIR", "--port"));
        assert_eq!(
            parse(&["-c", "x.toml"]).unwrap().config,
            Some("x.toml".into())
        );
    }

    #[test]
    fn reports_every_mistake() {
        assert_eq!(
            parse(&["--prot", "80", "--no-port", "-x", "--config"]).unwrap_err(),
            [
                "--prot: unknown flag; did you mean `--port`?",
                "--no-port: unknown flag; did you mean `--port`?",
                "-x: unknown flag; see aureond --help",
                "--config: the value is missing; write --config FILE",
            ]
        );
        assert_eq!(
            parse(&[".", "/"]).unwrap_err(),
            ["/: one directory is served; give a single DIR"]
        );
        assert_eq!(
            parse(&["chekc"]).unwrap_err(),
            ["chekc: neither a command nor a directory; did you mean `check`?"]
        );
        assert_eq!(
            parse(&["--json"]).unwrap_err(),
            ["--json: only commands that report have it, such as `check`"]
        );
        assert_eq!(
            parse(&["--json=x", "-t=x"]).unwrap_err(),
            [
                "--json: this flag takes no value",
                "-t: this flag takes no value"
            ]
        );
        assert_eq!(
            parse(&["-xt", "--bogus=1"]).unwrap_err(),
            [
                "-x: unknown flag; see aureond --help",
                "--bogus: unknown flag; see aureond --help"
            ]
        );
        for words in [&["completions"][..], &["completions", "tcsh"]] {
            let missing = ["completions: a shell is named; write bash, zsh or fish"];
            assert_eq!(parse(words).unwrap_err(), missing);
        }
        let missing = ["explain: a path is explained; write aureond explain GET /path"];
        assert_eq!(parse(&["explain", "GET"]).unwrap_err(), missing);
        assert_eq!(parse(&["check", "-H", "a: b"]).unwrap_err(), missing);
        assert_eq!(
            parse(&["explain", "/", "-H", "a"]).unwrap_err(),
            ["-H: a field has a colon; write -H 'Name: value'"]
        );
    }

    #[test]
    fn a_question_is_a_method_a_target_and_fields() {
        let found = parse(&[
            "explain",
            "POST",
            "/a",
            "-H",
            "A: b:c",
            "--header=D:e",
            "dir",
        ]);
        let found = found.unwrap();
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let question = Question {
            method: "POST".into(),
            target: "/a".into(),
            fields: vec![field("A", "b:c"), field("D", "e")],
        };
        assert_eq!(
            (found.command, found.question),
            (Command::Explain, question)
        );
        assert_eq!(found.flags[0].text, "dir");
        let found = parse(&["explain", "/check", "--json"]).unwrap();
        let question = (&*found.question.method, &*found.question.target, found.json);
        assert_eq!(question, ("GET", "/check", true));
        assert_eq!(found.flags, []);
    }

    #[test]
    fn own_flags_and_settings_do_not_share_a_name() {
        for setting in SETTINGS {
            for (letter, word, ..) in OWN_FLAGS {
                assert_ne!(setting.short, Some(letter), "{}", setting.key);
                assert_ne!(setting.key, word);
            }
        }
    }
}
