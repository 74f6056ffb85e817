//! From a command line to an exit code: the whole of `aureond` but its routes.
//!
//! Dispatches on the command, prints help, version and reports to standard output and every
//! mistake to standard error. A backend of one's own calls [`main`](crate::main) with its routes
//! and has the same command line.

use std::ffi::OsString;
use std::io::{self, Write};
use std::time::Duration;

use aureon::sys::signal;

use crate::address::Address;
use crate::arguments::{Arguments, Command, parse_arguments};
use crate::asking::{Answered, PATIENCE, ask};
use crate::check::{Report, write_problems_json};
use crate::completions::write_completions;
use crate::config::{ADMIN_NAME, Loaded, Source};
use crate::health::READY_PATH;
use crate::help::{VERSION, write_help};
use crate::json::Object;
use crate::managed::manage;
use crate::problem::{Exit, Place, Problem, exit_of, with_error};
use crate::service::{Failure, Service, say, say_parts, write_error};
use crate::value::show_digits;

/// How long an order may take. 40 s: more than an upgrade does until it is given up.
const ORDER_PATIENCE: Duration = Duration::from_secs(40);

/// Runs a command line, without the program's name.
pub fn run(arguments: Vec<OsString>, build: impl FnOnce(Service) -> Service) -> Exit {
    let arguments = match parse_arguments(arguments) {
        Ok(arguments) => arguments,
        Err(problems) => return fail(&problems, false),
    };
    match arguments.command {
        Command::Help => print(write_help().as_bytes()),
        Command::Version => print(VERSION.as_bytes()),
        Command::Completions => print(write_completions(&arguments.topic).as_bytes()),
        Command::Service => manage(arguments, build),
        _ => with_configuration(arguments, build),
    }
}

/// Runs a command for which the configuration is read.
pub(crate) fn with_configuration(
    arguments: Arguments,
    build: impl FnOnce(Service) -> Service,
) -> Exit {
    let (command, json) = (arguments.command, arguments.json);
    let question = arguments.question;
    let source = Source {
        file: arguments.config,
        flags: arguments.flags,
    };
    let loaded = match source.load() {
        Ok(loaded) => loaded,
        Err(problems) => {
            // What a service that runs is asked has its own JSON, which this is not.
            let by_name = command == Command::Reload && signal::BY_NAME;
            let ours = matches!(command, Command::Check | Command::Explain) || by_name;
            return fail(&problems, json && ours);
        }
    };
    match command {
        Command::Check => check(&loaded, json),
        Command::Healthcheck => healthcheck(&loaded, json),
        Command::Status => status(&loaded, json),
        Command::Reload if signal::BY_NAME => reload_by_name(&loaded, json),
        Command::Reload => order(&loaded, "/reload", json),
        Command::Upgrade => order(&loaded, "/upgrade", json),
        Command::Explain => match build(Service::of(source, loaded)).explain(question) {
            Ok(explanation) if json => print(&explanation.write_json()),
            Ok(explanation) => print(&explanation.write_text()),
            Err(failure) => tell(&failure),
        },
        _ => match build(Service::of(source, loaded)).run() {
            Ok(()) => Exit::Fine,
            Err(failure) => tell(&failure),
        },
    }
}

fn check(loaded: &Loaded, json: bool) -> Exit {
    // Whoever checks before a reload finds the service that is to be reloaded.
    let running = match ask_service(loaded, "GET", "/status", PATIENCE) {
        Ok(answered) if answered.status == 200 => answered.content,
        _ => Vec::new(),
    };
    let report = Report::new(loaded, &running);
    let written = match json {
        true => print(&report.write_json(loaded)),
        false => print(report.write_text(loaded).as_bytes()),
    };
    if written == Exit::Fine {
        report.exit()
    } else {
        written
    }
}

/// Asks the first address whether the service behind it is ready.
fn healthcheck(loaded: &Loaded, json: bool) -> Exit {
    let Some(address) = loaded.addresses.first() else {
        return Exit::Failed;
    };
    let (proxied, shown) = (loaded.proxied.contains(address), address.show());
    let (status, told) = match ask(address, proxied, "GET", READY_PATH, PATIENCE) {
        Ok(answered) => (answered.status, answered.content),
        Err(error) => {
            let told = with_error(&["nobody answers on ", &shown], &error);
            (0, told.into_bytes())
        }
    };
    let told = String::from_utf8_lossy(&told);
    let reason = told.trim_ascii_end();
    let mut printed = Exit::Fine;
    if json {
        let mut out = Vec::new();
        let mut object = Object::new(&mut out);
        object.bool("ready", status == 200);
        object.string("address", &shown);
        object.number("status", u64::from(status));
        object.string("reason", reason);
        object.end();
        out.push(b'\n');
        printed = print(&out);
    } else {
        match status {
            200 => printed = print(told.as_bytes()),
            0 => say(reason),
            _ => say_parts(&[
                &shown,
                " answers ",
                &show_digits(u64::from(status)),
                ": ",
                reason,
            ]),
        }
    }
    match status {
        200 => printed,
        _ => Exit::Failed,
    }
}

/// Prints what the running service says of itself.
fn status(loaded: &Loaded, json: bool) -> Exit {
    let target = match json {
        true => "/status",
        false => "/status.txt",
    };
    match ask_admin(loaded, "GET", target) {
        Ok(answered) if answered.status == 200 => print(&answered.content),
        Ok(answered) => {
            say(String::from_utf8_lossy(&answered.content).trim_ascii_end());
            Exit::Failed
        }
        Err(exit) => exit,
    }
}

/// Has the running service do something, and tells what came of it.
fn order(loaded: &Loaded, target: &str, json: bool) -> Exit {
    let answered = match ask_admin(loaded, "POST", target) {
        Ok(answered) => answered,
        Err(exit) => return exit,
    };
    let exit = match answered.status {
        200 => Exit::Fine,
        _ => Exit::Failed,
    };
    if json {
        let printed = print(&[&answered.content[..], b"\n"].concat());
        return if printed == Exit::Fine { exit } else { printed };
    }
    let lines = read_lines(&answered.content);
    for line in &lines {
        say(line);
    }
    if exit == Exit::Fine && lines.is_empty() {
        say("done; nothing has changed");
    }
    exit
}

/// The same where there are no admin sockets: a process is found by its first address, and tells
/// by itself what comes of it.
fn reload_by_name(loaded: &Loaded, json: bool) -> Exit {
    let address = loaded
        .addresses
        .first()
        .map_or_else(String::new, Address::show);
    match signal::reload(&address) {
        Ok(()) if json => print(b"{\"ok\":true,\"lines\":[]}\n"),
        Ok(()) => {
            say("asked; it tells on its standard error what came of it");
            Exit::Fine
        }
        Err(error) => {
            say_parts(&["nobody hears it for ", &address, ": ", &error.text()]);
            say("whoever runs a service says `aureond service reload`");
            Exit::Failed
        }
    }
}

/// Asks the admin socket of the running service: the one that the configuration names, else the
/// one in the runtime directory that the shipped unit has. Without an answer, where and why.
fn ask_service(
    loaded: &Loaded,
    method: &str,
    target: &str,
    patience: Duration,
) -> Result<Answered, (String, io::Error)> {
    let unix = |address: &&Address| matches!(address, Address::Unix(_));
    let default = Address::Unix(["/run/aureond/", ADMIN_NAME].concat());
    let address = loaded.admin.iter().find(unix).unwrap_or(&default);
    ask(address, false, method, target, patience).map_err(|error| (address.show(), error))
}

/// The same, telling when nobody answers.
fn ask_admin(loaded: &Loaded, method: &str, target: &str) -> Result<Answered, Exit> {
    ask_service(loaded, method, target, ORDER_PATIENCE).map_err(|(shown, error)| {
        say(&with_error(&["nobody answers on ", &shown], &error));
        say(match signal::BY_NAME {
            true => "a port tells /metrics and no more; `aureond service status` asks the system",
            false => "one that was started with --admin unix:PATH, or by the unit, listens there",
        });
        Exit::Failed
    })
}

/// The strings of `"lines":[...]` in an answer of the admin listener, which this program wrote.
fn read_lines(json: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(json);
    let list = text.split_once('[').map_or("", |(_, list)| list);
    let mut lines = Vec::new();
    let (mut line, mut open, mut escaped) = (String::new(), false, false);
    for letter in list.chars() {
        match letter {
            // What is escaped otherwise is a control character, which no line has.
            '\\' if open && !escaped => escaped = true,
            '"' if open && !escaped => {
                lines.push(std::mem::take(&mut line));
                open = false;
            }
            '"' if !open => open = true,
            ']' if !open => break,
            _ if open => {
                line.push(letter);
                escaped = false;
            }
            _ => {}
        }
    }
    lines
}

fn tell(failure: &Failure) -> Exit {
    for line in &failure.lines {
        say(line);
    }
    failure.exit
}

/// Tells every problem. One of a file begins with `file:line:column:`, which editors follow.
pub(crate) fn fail(problems: &[Problem], json: bool) -> Exit {
    if json {
        let written = print(&write_problems_json(problems));
        return if written == Exit::Fine {
            exit_of(problems)
        } else {
            written
        };
    }
    let mut out = String::new();
    for problem in problems {
        if !matches!(problem.place, Place::File { .. }) {
            out.push_str("aureond: ");
        }
        out.push_str(&problem.show());
        out.push('\n');
    }
    // If standard error is gone the exit code remains.
    write_error(out.as_bytes());
    exit_of(problems)
}

/// Prints what was asked for. A reader that has enough (`aureond help | head`) is no failure.
pub(crate) fn print(bytes: &[u8]) -> Exit {
    let mut out = io::stdout();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Exit::Fine,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Fine,
        Err(error) => {
            say(&with_error(&["cannot write the answer"], &error));
            Exit::Failed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_an_answer_are_read_back() {
        let read = |json: &str| read_lines(json.as_bytes());
        assert_eq!(read(r#"{"ok":true,"lines":[]}"#), [""; 0]);
        assert_eq!(
            read(r#"{"ok":false,"lines":["a","b \"c\" \\ d"]}"#),
            ["a", r#"b "c" \ d"#]
        );
        assert_eq!(read("nonsense"), [""; 0]);
    }
}
