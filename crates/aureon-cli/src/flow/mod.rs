//! Each command from its arguments to its end: what strings all the other rooms together.
//!
//! Nothing here knows what a step does. The order of a deployment is in [`deploy`]; what commands
//! share (reading what is wanted, reaching a host, asking it) is in this file.

mod check;
mod deploy;
mod env;
mod logs;
mod plan;
mod rollback;
mod run;
mod status;
mod undo;

use std::io;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use crate::arguments::Arguments;
use crate::arguments::table::{Command, Flag};
use crate::completions::write_completions;
use crate::facts::{Facts, Questions, dns, parse_facts};
use crate::failure::Failure;
use crate::help::{VERSION, write_help};
use crate::host::{Host, Recorded, Ssh};
use crate::journal::{Journal, JournalError, LOCKED};
use crate::limits;
use crate::say::Say;
use crate::wanted::{Reader, Target, Wanted};

/// What every command has.
pub(crate) struct Context {
    /// The command line.
    pub(crate) arguments: Arguments,
    /// Where things are told.
    pub(crate) say: Say,
}

/// Does what was asked.
pub(crate) fn run(context: &Context) -> Result<(), Failure> {
    let (arguments, say) = (&context.arguments, &context.say);
    match arguments.command {
        Command::Deploy => deploy::run(context),
        Command::Plan => plan::run(context),
        Command::Rollback => rollback::run(context),
        Command::Undo => undo::run(context),
        Command::Status => status::run(context),
        Command::Logs => logs::run(context),
        Command::Run => run::run(context),
        Command::Env => env::run(context),
        Command::Check => check::run(context),
        Command::Version => {
            say.print(VERSION);
            Ok(())
        }
        Command::Help => {
            say.print(&write_help(arguments.topic));
            Ok(())
        }
        Command::Completions => {
            let shell = arguments.words.first().map_or("bash", String::as_str);
            say.print(&write_completions(shell));
            Ok(())
        }
    }
}

/// What is asked of the host about a deployment.
fn questions(app: &str, wanted: Option<&Wanted>) -> Questions {
    let certificate = wanted.and_then(crate::plan::certificate::question);
    Questions {
        app: app.to_owned(),
        about: wanted.map(crate::plan::paths).unwrap_or_default(),
        certificate,
    }
}

/// Asks the host, and from here what the names lead to. The text is what can be recorded.
fn ask_facts(
    host: &mut dyn Host,
    questions: &Questions,
    domains: &[String],
) -> Result<(Facts, String), Failure> {
    let answer = host.run(&questions.script(), &mut io::empty(), &mut |_| {})?;
    let mut text = answer.stdout;
    let names = dns::write_lines(&dns::resolve(domains));
    text.push_str(&names);
    let mut facts = parse_facts(&text).map_err(|error| {
        let said = answer.stderr.lines().last().unwrap_or_default();
        Failure::new(format!("{error}: {said}"), "")
    })?;
    facts.clock_off_s = facts.time_s.abs_diff(now_s());
    Ok((facts, text))
}

/// A host that was recorded.
fn recorded_facts(name: &str, path: &std::path::Path) -> Result<Facts, Failure> {
    let host = Recorded::read(name, path).map_err(|error| {
        let what = format!("{} can not be read: {error}", path.display());
        Failure::new(what, "write one by aureon check --record FILE")
    })?;
    Ok(parse_facts(&host.text)?)
}

impl Context {
    /// Runs `each` for every host, one after the other; the first that fails is the last.
    fn each_host(
        &self,
        target: &Target,
        mut each: impl FnMut(&mut Ssh) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let hosts = &target.hosts;
        for (at, name) in hosts.iter().enumerate() {
            if hosts.len() > 1 {
                self.say
                    .note(&format!("== {name} ({} of {})", at + 1, hosts.len()));
            }
            self.say.event(&json!({"event": "host", "host": name}));
            let mut host = Ssh::new(name, target.ssh.clone());
            if let Err(failure) = each(&mut host) {
                let rest = hosts[at + 1..].join(", ");
                if !rest.is_empty() {
                    self.say
                        .warn(&format!("not reached after this failure: {rest}"));
                }
                return Err(failure);
            }
        }
        Ok(())
    }

    /// The application and its hosts.
    fn target(&self) -> Result<Target, Failure> {
        Reader::new(&self.arguments)?.target()
    }

    /// Who changes the host, for its lock and its logs.
    fn journal(&self) -> Journal {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let user = variable("USER").or_else(|| variable("USERNAME"));
        let machine = variable("HOSTNAME").or_else(|| variable("COMPUTERNAME"));
        let machine = machine.or_else(|| {
            let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
            Some(name.trim().to_owned())
        });
        let part = |part: Option<String>| part.unwrap_or_else(|| "somebody".to_owned());
        let who = format!(
            "{}@{}",
            part(user),
            machine.unwrap_or_else(|| "somewhere".to_owned())
        );
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let token = format!(
            "{:x}-{:x}",
            std::process::id(),
            now.unwrap_or_default().as_nanos()
        );
        Journal::new(&who, &token)
    }

    /// Asks whether to go on, unless that was answered on the command line.
    fn confirm(&self, question: &str) -> Result<(), Failure> {
        if self.arguments.has(Flag::Yes) || self.say.ask(question)? {
            return Ok(());
        }
        Err(Failure::new("nothing has been changed", ""))
    }

    /// Takes the host's lock. Its holder may be about to end, or be gone, which the host believes
    /// after a minute of silence: until then it is asked again.
    fn lock(&self, host: &mut dyn Host, journal: &Journal) -> Result<(), JournalError> {
        let break_lock = self.arguments.has(Flag::BreakLock);
        let begun = Instant::now();
        let mut waits = false;
        loop {
            // What is said of the lock is said once; what else is said is how the host is healed.
            let locked = journal.lock(host, break_lock, &mut |line| {
                if !(waits && line.starts_with(LOCKED)) {
                    self.say.note(line);
                }
            });
            let refused = matches!(locked, Err(JournalError::Locked(_)));
            if !refused || begun.elapsed() >= limits::LOCK_WAIT {
                return locked;
            }
            if !waits {
                let most = limits::LOCK_WAIT.as_secs();
                self.say.note(&format!("waiting for it, at most {most} s"));
            }
            waits = true;
            std::thread::sleep(limits::LOCK_PAUSE);
        }
    }

    /// Holds the host's lock around `work`, and gives it back however that ends.
    fn locked<T>(
        &self,
        host: &mut dyn Host,
        journal: &Journal,
        work: impl FnOnce(&mut dyn Host) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.lock(host, journal)?;
        let worked = work(host);
        match (worked, journal.unlock(host)) {
            (Ok(value), Ok(())) => Ok(value),
            (Err(failure), _) => Err(failure),
            (Ok(value), Err(error)) => {
                self.say.warn(&format!("the lock is still there: {error}"));
                Ok(value)
            }
        }
    }
}

/// The host's answer, if its script ended well.
fn sound(answer: crate::host::Answer) -> Result<String, Failure> {
    if answer.code == 0 {
        return Ok(answer.stdout);
    }
    let said = answer
        .stderr
        .lines()
        .last()
        .or(answer.stdout.lines().last());
    let what = format!("the host says: {}", said.unwrap_or("nothing"));
    Err(Failure::new(what, ""))
}

/// Seconds since 1970 here.
fn now_s() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or(Duration::ZERO).as_secs()
}

/// What of a host's clock a certificate and a log would suffer from.
fn clock_warning(facts: &Facts) -> Option<String> {
    let off = facts.clock_off_s;
    (off > limits::CLOCK_OFF.as_secs()).then(|| {
        format!("the host's clock and this machine's are {off} s apart; certificates need the time")
    })
}
