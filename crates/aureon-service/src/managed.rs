//! `aureond service …`: installing, starting, stopping and removing where the system's manager of
//! services is asked by a program, which is Windows; and being such a service.
//!
//! It runs as an account of its own, `NT SERVICE\aureond`, which exists as long as the service
//! does: it has no password, and unlike LocalService shares nothing with other services. It has no
//! directory and no console either. So the command line that is stored has whole paths, and what
//! would be told to standard error goes to `aureond.log` in [`directory`], with `access.log`
//! beside it unless the configuration names another. Variables of whoever installs it are not
//! taken along: what they say about the configuration's file is.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::thread;
use std::time::Duration;

use aureon::sys::services::{self, Code, Order, Plan, State, Status};

use crate::arguments::Arguments;
use crate::check::absolute;
use crate::command::{fail, print, with_configuration};
use crate::config::{Given, Loaded, Source};
use crate::problem::Exit;
use crate::service::{Service, say, say_parts};
use crate::settings::SETTINGS;
use crate::value::{Kind, show_digits};

/// What can be asked for; `run` besides, which is the manager's.
pub(crate) const ACTIONS: [&str; 6] = ["install", "start", "stop", "reload", "status", "remove"];

/// Its name among the services. There is one, because the account is named after it.
const NAME: &str = "aureond";

/// The account, and below the same as the system numbers it: S-1-5-80 and the SHA-1 of the name
/// in capitals, as five numbers.
const ACCOUNT: &str = "NT SERVICE\\aureond";

/// Who may use the directory: the administrators, to whom it belongs, the system, and the account,
/// which may do everything but change this. Others may create files in what lies around it.
const DESCRIPTOR: &str = "O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)\
    (A;OICI;0x1301bf;;;S-1-5-80-3519739553-4225931854-3334591903-4001620316-1885915220)";

/// Bytes of `aureond.log` from which on another one is begun at the next start. 1 MiB: there is a
/// line for a start, a reload or an end.
const MESSAGES_BYTES_MAX: u64 = 1 << 20;

/// Between two looks at a service that is starting or stopping: the manager has no way to wait.
const LOOK: Duration = Duration::from_millis(100);

/// Looks without progress after which we wait no longer. 300: the 30 s of the manager itself.
const LOOKS_MAX: u32 = 300;

/// Milliseconds that a service gets at a shutdown besides its drain. 30 s: the last lines of its
/// log may take their time.
const STOP_MORE_MS: u32 = 30_000;

/// Does what the command line says.
pub(crate) fn manage(arguments: Arguments, build: impl FnOnce(Service) -> Service) -> Exit {
    if !services::PRESENT {
        say("services of this system are systemd's or launchd's business: see docs/OPERATING.md");
        return Exit::Usage;
    }
    if arguments.topic != "run" {
        let source = Source {
            file: arguments.config,
            flags: arguments.flags,
        };
        return ask(&arguments.topic, &source);
    }
    if let Err(code) = services::enter() {
        return failed(code);
    }
    let exit = match redirect(&messages(&arguments.place)) {
        true => with_configuration(arguments, build),
        // Nobody would learn what it says.
        false => Exit::Config,
    };
    say_parts(&["exit code ", &show_digits(exit as u64)]);
    // The others are for who has to mend something.
    services::leave(exit as u8, exit == Exit::Failed);
    exit
}

fn failed(code: Code) -> Exit {
    say_parts(&["service aureond: ", &code.text()]);
    Exit::Failed
}

#[inline(never)]
fn ask(topic: &str, source: &Source) -> Exit {
    let done = match topic {
        "install" => install(source),
        "start" => services::order(NAME, Order::Start).and_then(|()| settle(State::Running)),
        "stop" => services::order(NAME, Order::Stop).and_then(|()| settle(State::Stopped)),
        "reload" => reload(),
        "remove" => remove(),
        _ => status(),
    };
    done.unwrap_or_else(failed)
}

/// Where a service writes. Its command line says it again, so that both mean the same.
fn directory() -> String {
    let data = std::env::var("ProgramData");
    [data.as_deref().unwrap_or("C:\\ProgramData"), "\\aureon"].concat()
}

fn messages(directory: &str) -> String {
    [directory, "\\aureond.log"].concat()
}

fn install(source: &Source) -> Result<Exit, Code> {
    let loaded = match source.load() {
        Ok(loaded) => loaded,
        Err(problems) => return Ok(fail(&problems, false)),
    };
    let program = std::env::current_exe();
    let program = program.map_err(|error| Code(error.raw_os_error().unwrap_or(0)))?;
    let config = &loaded.config;
    services::own_directory(&directory(), DESCRIPTOR)?;
    services::install(&Plan {
        name: NAME,
        title: "AUREON",
        about: "Serves a directory and a small API over HTTP",
        command: &command_line(&program.to_string_lossy(), &loaded, &source.flags),
        account: ACCOUNT,
        stop_ms: (config.limits.drain_timeout_ms)
            .saturating_add(config.drain_delay_ms)
            .saturating_add(STOP_MORE_MS),
    })?;
    say("installed: it starts with the machine; `aureond service start` starts it now");
    Ok(Exit::Fine)
}

/// What the manager is to start: the same settings, with paths that mean the same everywhere.
fn command_line(program: &str, loaded: &Loaded, flags: &[Given]) -> String {
    let mut line = quote(program);
    line.push_str(" service run ");
    line.push_str(&quote(&directory()));
    let mut add = |word: &str| {
        line.push(' ');
        line.push_str(&quote(word));
    };
    if let Some(file) = &loaded.file {
        add(&["--config=", &absolute(Path::new(file))].concat());
    }
    for given in flags {
        let setting = &SETTINGS[given.setting];
        let value = match setting.kind {
            Kind::Path => absolute(Path::new(&given.text)),
            _ => given.text.clone(),
        };
        add(&[&setting.flag(), "=", &value].concat());
    }
    if loaded.config.log_file.is_empty() {
        add(&["--log-file=", &directory(), "\\access.log"].concat());
    }
    line
}

/// A word as Windows programs find it in their command line: in quotes, with a backslash before
/// each one inside, and with twice as many backslashes where they stand before a quote.
fn quote(word: &str) -> String {
    let mut out = String::from("\"");
    let mut slashes = 0;
    for letter in word.chars() {
        if letter == '"' {
            out.push_str(&"\\".repeat(slashes + 1));
        }
        slashes = if letter == '\\' { slashes + 1 } else { 0 };
        out.push(letter);
    }
    out.push_str(&"\\".repeat(slashes));
    out.push('"');
    out
}

/// Waits until the service is in a state, or stopped, or makes no progress.
fn wait(wanted: State) -> Result<Status, Code> {
    let mut last = services::status(NAME)?;
    let mut looks = 0;
    while last.state != wanted && last.state != State::Stopped && looks < LOOKS_MAX {
        thread::sleep(LOOK);
        let status = services::status(NAME)?;
        looks = if status == last { looks + 1 } else { 0 };
        last = status;
    }
    Ok(last)
}

fn settle(wanted: State) -> Result<Exit, Code> {
    let status = wait(wanted)?;
    say(&show(&status));
    Ok(match status.state == wanted {
        true => Exit::Fine,
        false => Exit::Failed,
    })
}

fn reload() -> Result<Exit, Code> {
    services::order(NAME, Order::Reload)?;
    say(&["asked; what came of it is in ", &messages(&directory())].concat());
    Ok(Exit::Fine)
}

fn remove() -> Result<Exit, Code> {
    if services::status(NAME)?.state != State::Stopped {
        services::order(NAME, Order::Stop)?;
        settle(State::Stopped)?;
    }
    services::order(NAME, Order::Remove)?;
    say(&["removed; its logs stay in ", &directory()].concat());
    Ok(Exit::Fine)
}

fn status() -> Result<Exit, Code> {
    let status = services::status(NAME)?;
    let printed = print([&show(&status), "\n"].concat().as_bytes());
    Ok(match status.state {
        State::Running => printed,
        _ => Exit::Failed,
    })
}

fn show(status: &Status) -> String {
    let number = |number: u32| show_digits(u64::from(number));
    match (status.state, status.code) {
        (State::Running, _) => ["running, process ", &number(status.pid)].concat(),
        (State::Starting, _) => "starting".to_owned(),
        (State::Stopping, _) => "stopping".to_owned(),
        (State::Stopped, None) if status.error == 0 => "stopped".to_owned(),
        (State::Stopped, code) => {
            let why = match code {
                Some(code) => ["exit code ", &number(code)].concat(),
                None => Code(status.error.cast_signed()).text(),
            };
            ["stopped, ", &why, "; see ", &messages(&directory())].concat()
        }
    }
}

/// Has all messages go to a file.
fn redirect(path: &str) -> bool {
    let full = fs::metadata(path).is_ok_and(|facts| facts.len() > MESSAGES_BYTES_MAX);
    if full && fs::rename(path, [path, ".1"].concat()).is_err() {
        return false;
    }
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.is_ok_and(|file| services::redirect(file).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::parse_arguments;

    #[test]
    fn a_word_is_quoted_so_that_it_is_read_back() {
        for (word, quoted) in [
            (
                r"C:\Program Files\aureond.exe",
                r#""C:\Program Files\aureond.exe""#,
            ),
            (r"C:\sites\", r#""C:\sites\\""#),
            (r#"say "hi""#, r#""say \"hi\"""#),
            (r#"\\"#, r#""\\\\""#),
            (r#"\""#, r#""\\\"""#),
            ("", r#""""#),
        ] {
            assert_eq!(quote(word), quoted);
        }
    }

    #[test]
    fn a_command_line_holds_every_flag_with_whole_paths() {
        let words = ["service", "install", "pages", "-p", "80", "--no-api"];
        let arguments = parse_arguments(words.map(Into::into).to_vec()).unwrap();
        assert_eq!(arguments.topic, "install");
        let loaded = crate::config::load(&crate::config::Inputs {
            file: Some(("aureon.toml".to_owned(), Vec::new())),
            ..Default::default()
        });
        let line = command_line("a b", &loaded.unwrap(), &arguments.flags);
        let whole = |path: &str| absolute(Path::new(path));
        let parts = [
            "\"a b\" service run",
            &quote(&directory()),
            &quote(&["--config=", &whole("aureon.toml")].concat()),
            &quote(&["--root=", &whole("pages")].concat()),
            "\"--port=80\" \"--api=false\"",
            &quote(&["--log-file=", &directory(), "\\access.log"].concat()),
        ];
        assert_eq!(line, parts.join(" "));
        assert!(Path::new(&whole("pages")).is_absolute());
    }
}
