//! The command line → what was asked for, or every mistake in it.
//!
//! What can be typed stands in [`table`]. A mistake names the word that was meant and what to type
//! next; all of them are told at once. Nothing is looked up here: whether a file exists or a host
//! answers is for whoever uses it.

pub mod table;

use std::ffi::OsString;
use std::path::PathBuf;

use aureon_service::problem::{Place, Problem, nearest};
use lexopt::{Arg, Parser};

use self::table::{COMMANDS, Command, FLAGS, Flag, FlagRow};

/// A parsed command line.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// What to do.
    pub command: Command,
    /// What help is wanted of; nothing is of all.
    pub topic: Option<Command>,
    /// Words that are no flags, the command's own left out.
    pub words: Vec<String>,
    /// For `run`: what is to be run.
    pub run: Vec<String>,
    /// Flags with their values, in the order given; a switch has an empty one.
    given: Vec<(Flag, String)>,
}

impl Arguments {
    /// Whether the switch was given.
    #[must_use]
    pub fn has(&self, flag: Flag) -> bool {
        self.given.iter().any(|(given, _)| *given == flag)
    }

    /// The value of the flag; the last one counts.
    #[must_use]
    pub fn text(&self, flag: Flag) -> Option<&str> {
        let found = self.given.iter().rev().find(|(given, _)| *given == flag);
        found.map(|(_, value)| value.as_str())
    }

    /// The value of the flag as a path.
    #[must_use]
    pub fn path(&self, flag: Flag) -> Option<PathBuf> {
        self.text(flag).map(PathBuf::from)
    }

    /// Every value of a flag that may be repeated.
    #[must_use]
    pub fn texts(&self, flag: Flag) -> Vec<String> {
        let found = self.given.iter().filter(|(given, _)| *given == flag);
        found.map(|(_, value)| value.clone()).collect()
    }

    /// A number that was checked when it was read.
    #[must_use]
    pub fn number<T: std::str::FromStr>(&self, flag: Flag) -> Option<T> {
        self.text(flag)?.parse().ok()
    }
}

/// Parses the arguments, without the program's name.
///
/// # Errors
/// Every mistake.
pub fn parse_arguments(arguments: Vec<OsString>) -> Result<Arguments, Vec<Problem>> {
    let divided = arguments.iter().any(|argument| argument == "--");
    let mut reader = Reader {
        parser: Parser::from_args(arguments),
        command: None,
        divided,
        words: Vec::new(),
        run: Vec::new(),
        given: Vec::new(),
        problems: Vec::new(),
    };
    while reader.read() {}
    reader.end()
}

fn flag_place(word: &str) -> Place {
    Place::Flag(word.to_owned())
}

struct Reader {
    parser: Parser,
    command: Option<Command>,
    /// There is a `--` among the arguments.
    divided: bool,
    words: Vec<String>,
    run: Vec<String>,
    given: Vec<(Flag, String)>,
    problems: Vec<Problem>,
}

impl Reader {
    fn report(&mut self, word: &str, what: impl Into<String>, fix: impl Into<String>) {
        self.problems
            .push(Problem::new(flag_place(word), what, fix));
    }

    /// Reads one argument; false at the end.
    fn read(&mut self) -> bool {
        // Behind `--`, and for `run` behind its first word, everything is the command's that is
        // run.
        if self.command == Some(Command::Run) && self.at_command() {
            let rest = self.parser.raw_args().map(Iterator::collect::<Vec<_>>);
            for word in rest.unwrap_or_default() {
                let word = self.utf8("COMMAND", word);
                self.run.extend(word);
            }
            return false;
        }
        match self.parser.next() {
            Ok(None) => return false,
            Ok(Some(Arg::Value(word))) => {
                if let Some(word) = self.utf8("the word", word) {
                    self.on_word(word);
                }
            }
            Ok(Some(Arg::Long(name))) => {
                let typed = ["--", name].concat();
                let row = FLAGS.iter().find(|row| row.long == name);
                self.on_flag(&typed, row);
            }
            Ok(Some(Arg::Short(letter))) => {
                let typed: String = ['-', letter].iter().collect();
                let row = FLAGS.iter().find(|row| row.short == Some(letter));
                self.on_flag(&typed, row);
            }
            // The one error `next` knows: a value stuck to a flag that takes none.
            Err(error) => {
                let flag = match error {
                    lexopt::Error::UnexpectedValue { option, .. } => option,
                    _ => "aureon".to_owned(),
                };
                self.report(&flag, "this flag takes no value", "");
            }
        }
        true
    }

    /// Whether the next argument begins what `run` runs.
    fn at_command(&mut self) -> bool {
        let divided = self.divided;
        let Some(mut rest) = self.parser.try_raw_args() else {
            return false;
        };
        match rest.as_slice().first() {
            Some(word) if word == "--" => {
                rest.next();
                true
            }
            Some(word) => !divided && !word.to_string_lossy().starts_with('-'),
            None => false,
        }
    }

    fn on_word(&mut self, word: String) {
        if self.command.is_some() {
            self.words.push(word);
            return;
        }
        match COMMANDS.iter().find(|row| row.name == word) {
            Some(row) => self.command = Some(row.command),
            None => {
                let near = nearest(&word, COMMANDS.iter().map(|row| row.name));
                let fix = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "see aureon help".to_owned(),
                };
                self.report(&word, "there is no such command", fix);
                // Its words are not to be told as mistakes too.
                self.command = Some(Command::Help);
            }
        }
    }

    fn on_flag(&mut self, typed: &str, row: Option<&'static FlagRow>) {
        let Some(row) = row else {
            self.parser.optional_value();
            let known: Vec<String> = FLAGS.iter().map(|row| row.flag.typed()).collect();
            let near = nearest(typed, known.iter().map(String::as_str));
            let fix = match near.filter(|_| typed.starts_with("--")) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "see aureon help".to_owned(),
            };
            return self.report(typed, "there is no such flag", fix);
        };
        if row.value.is_empty() {
            self.given.push((row.flag, String::new()));
            return;
        }
        let Ok(value) = self.parser.value() else {
            let fix = format!("write {typed} {}", row.value);
            return self.report(typed, "the value is missing", fix);
        };
        let Some(value) = self.utf8(typed, value) else {
            return;
        };
        let number = match row.flag {
            Flag::Port | Flag::SshPort => value.parse::<u16>().is_ok_and(|port| port > 0),
            Flag::Lines => value.parse::<u32>().is_ok(),
            _ => true,
        };
        if !number {
            return self.report(
                typed,
                format!("`{value}` is no {}", row.value),
                "write a number",
            );
        }
        self.given.push((row.flag, value));
    }

    fn utf8(&mut self, typed: &str, value: OsString) -> Option<String> {
        let text = value.into_string().ok();
        if text.is_none() {
            self.report(typed, "this is not UTF-8", "");
        }
        text
    }

    fn end(mut self) -> Result<Arguments, Vec<Problem>> {
        let asked = |flag| self.given.iter().any(|(given, _)| *given == flag);
        let (help, version) = (asked(Flag::Help), asked(Flag::Version));
        let mut topic = None;
        let command = match self.command {
            // Who asks for help gets it whatever else he typed.
            Some(command) if help && command != Command::Help => {
                topic = Some(command);
                Command::Help
            }
            _ if help => Command::Help,
            _ if version => Command::Version,
            Some(command) => command,
            None if self.given.is_empty() => Command::Help,
            None => {
                self.report("aureon", "which command?", "see aureon help");
                Command::Help
            }
        };
        if help {
            self.problems.clear();
        }
        for (flag, _) in self.given.clone() {
            let row = flag.row();
            if !row.commands.contains(&command) && command != Command::Help {
                let what = format!("`{}` has no use for it", command.row().name);
                let fix = format!("see aureon help {}", command.row().name);
                self.report(&flag.typed(), what, fix);
            }
        }
        let topic = topic.or_else(|| self.take_topic(command));
        self.check_words(command);
        match self.problems.is_empty() {
            true => Ok(Arguments {
                command,
                topic,
                words: self.words,
                run: self.run,
                given: self.given,
            }),
            false => Err(self.problems),
        }
    }

    /// The command that `help` is asked about.
    fn take_topic(&mut self, command: Command) -> Option<Command> {
        if command != Command::Help || self.words.is_empty() || !self.problems.is_empty() {
            return None;
        }
        let word = self.words.remove(0);
        let row = COMMANDS.iter().find(|row| row.name == word);
        if row.is_none() {
            let near = nearest(&word, COMMANDS.iter().map(|row| row.name));
            let fix = near.map_or_else(String::new, |near| format!("did you mean `{near}`?"));
            self.report(&word, "there is no such command", fix);
        }
        row.map(|row| row.command)
    }

    /// How many words each command takes, and what belongs together.
    fn check_words(&mut self, command: Command) {
        let most = match command {
            Command::Deploy | Command::Plan | Command::Check | Command::Rollback => 2,
            Command::Undo | Command::Status | Command::Logs | Command::Run => 1,
            Command::Completions => 1,
            Command::Env => usize::MAX,
            Command::Version | Command::Help => 0,
        };
        let row = command.row();
        let write = format!("write aureon {} {}", row.name, row.words);
        if let (Some(word), true) = (self.words.get(most).cloned(), self.problems.is_empty()) {
            self.report(&word, "one word too many", write.trim_end());
        }
        if command == Command::Run && self.run.is_empty() {
            self.report("run", "what is to be run?", write.as_str());
        }
        let shells = crate::completions::SHELLS;
        let named = self
            .words
            .first()
            .is_some_and(|word| shells.contains(&word.as_str()));
        if command == Command::Completions && !named {
            self.report("completions", "a shell is named", "write bash, zsh or fish");
        }
        let has = |flag| self.given.iter().any(|(given, _)| *given == flag);
        let (cert, key) = (has(Flag::Cert), has(Flag::Key));
        let both = has(Flag::Quiet) && has(Flag::Verbose);
        if cert != key {
            let (one, other) = if cert {
                (Flag::Cert, Flag::Key)
            } else {
                (Flag::Key, Flag::Cert)
            };
            let fix = format!("add {} FILE", other.typed());
            self.report(&one.typed(), "a certificate and its key come together", fix);
        }
        if both {
            self.report("--quiet", "it can not be --verbose too", "give one of them");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, Vec<String>> {
        parse_arguments(line.split_whitespace().map(OsString::from).collect())
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn reads_commands_words_and_flags() {
        let found = parse("deploy root@h --domain a.de --domain=b.de -y -p2222 --port 80 dir");
        let found = found.unwrap();
        assert_eq!(found.command, Command::Deploy);
        assert_eq!(found.words, ["root@h", "dir"]);
        assert_eq!(found.texts(Flag::Domain), ["a.de", "b.de"]);
        assert!(found.has(Flag::Yes) && !found.has(Flag::Json));
        assert_eq!(found.number(Flag::SshPort), Some(2222_u16));
        assert_eq!(found.number(Flag::Port), Some(80_u16));
    }

    #[test]
    fn what_is_run_keeps_its_own_flags() {
        for line in ["run ls -la --json", "run -- ls -la --json"] {
            let found = parse(line).unwrap();
            assert_eq!(found.run, ["ls", "-la", "--json"], "{line}");
            assert_eq!(found.words, [""; 0]);
            assert!(!found.has(Flag::Json));
        }
        let found = parse("run -v root@h --app x -- ls -- -v").unwrap();
        assert_eq!(
            (found.words, found.run),
            (
                vec!["root@h".into()],
                vec!["ls".into(), "--".into(), "-v".into()]
            )
        );
        assert_eq!(parse("run").unwrap_err().len(), 1);
    }

    #[test]
    fn who_asks_for_help_gets_it() {
        for line in ["", "help", "-h", "--help"] {
            let found = parse(line).unwrap();
            assert_eq!(
                (found.command, found.topic),
                (Command::Help, None),
                "{line}"
            );
        }
        for line in ["help undo", "undo --help", "undo --bogus -h"] {
            let found = parse(line).unwrap();
            assert_eq!(
                (found.command, found.topic),
                (Command::Help, Some(Command::Undo))
            );
        }
        assert_eq!(parse("-V").unwrap().command, Command::Version);
    }

    #[test]
    fn mistakes_name_the_word_that_was_meant_and_what_to_type() {
        let check = |line: &str, expected: &[&str]| {
            assert_eq!(parse(line).unwrap_err(), expected, "{line}");
        };
        check(
            "depoly root@h",
            &["depoly: there is no such command; did you mean `deploy`?"],
        );
        check(
            "plan --domian x",
            &["--domian: there is no such flag; did you mean `--domain`?"],
        );
        check(
            "help udno",
            &["udno: there is no such command; did you mean `undo`?"],
        );
        check(
            "status --script",
            &["--script: `status` has no use for it; see aureon help status"],
        );
        check(
            "plan --domain",
            &["--domain: the value is missing; write --domain NAME"],
        );
        check("plan --port x", &["--port: `x` is no PORT; write a number"]);
        check("plan -p 0", &["-p: `0` is no PORT; write a number"]);
        check("plan --json=1", &["--json: this flag takes no value"]);
        check(
            "undo a b",
            &["b: one word too many; write aureon undo [USER@HOST]"],
        );
        check(
            "deploy h --cert a",
            &["--cert: a certificate and its key come together; add --key FILE"],
        );
        check(
            "completions tcsh",
            &["completions: a shell is named; write bash, zsh or fish"],
        );
        check("--json", &["aureon: which command?; see aureon help"]);
        check(
            "undo -q -v",
            &["--quiet: it can not be --verbose too; give one of them"],
        );
    }
}
