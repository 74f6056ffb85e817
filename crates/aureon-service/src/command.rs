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
        Command::Check => check(arguments),
        Command::Healthcheck => healthcheck(arguments),
        Command::Status => status(arguments),
        Command::Reload if signal::BY_NAME => reload_by_name(arguments),
        Command::Reload => order(arguments, "/reload"),
        Command::Upgrade => order(arguments, "/upgrade"),
        Command::Explain => explain(arguments, build),
        Command::Service => manage(arguments, build),
        Command::Serve => serve(arguments, build),
    }
}

pub(crate) fn source(arguments: Arguments) -> Source {
    Source {
        file: arguments.config,
        flags: arguments.flags,
    }
}

fn check(arguments: Arguments) -> Exit {
    let json = arguments.json;
    let loaded: Loaded = match source(arguments).load() {
        Ok(loaded) => loaded,
        Err(problems) => return fail(&problems, json),
    };
    let report = Report::new(&loaded);
    let written = match json {
        true => print(&report.write_json(&loaded)),
        false => print(report.write_text(&loaded).as_bytes()),
    };
    if written == Exit::Fine {
        report.exit()
    } else {
        written
    }
}

/// Says what would answer a request and why.
fn explain(arguments: Arguments, build: impl FnOnce(Service) -> Service) -> Exit {
    let (json, question) = (arguments.json, arguments.question.clone());
    let service = match Service::new(source(arguments)) {
        Ok(service) => service,
        Err(problems) => return fail(&problems, json),
    };
    match build(service).explain(question) {
        Ok(explanation) if json => print(&explanation.write_json()),
        Ok(explanation) => print(&explanation.write_text()),
        Err(failure) => tell(&failure),
    }
}

/// Asks the first address whether the service behind it is ready.
fn healthcheck(arguments: Arguments) -> Exit {
    let loaded = match source(arguments).load() {
        Ok(loaded) => loaded,
        Err(problems) => return fail(&problems, false),
    };
    let Some(address) = loaded.addresses.first() else {
        return Exit::Failed;
    };
    let proxied = loaded.proxied.contains(address);
    match ask(address, proxied, "GET", READY_PATH, PATIENCE) {
        Ok(answered) if answered.status == 200 => print(&answered.content),
        Ok(answered) => {
            let status = show_digits(u64::from(answered.status));
            let reason = String::from_utf8_lossy(&answered.content);
            say_parts(&[
                &address.show(),
                " answers ",
                &status,
                ": ",
                reason.trim_ascii_end(),
            ]);
            Exit::Failed
        }
        Err(error) => {
            say(&with_error(
                &["nobody answers on ", &address.show()],
                &error,
            ));
            Exit::Failed
        }
    }
}

/// Prints what the running service says of itself.
fn status(arguments: Arguments) -> Exit {
    let target = match arguments.json {
        true => "/status",
        false => "/status.txt",
    };
    match ask_admin(arguments, "GET", target) {
        Ok(answered) if answered.status == 200 => print(&answered.content),
        Ok(answered) => {
            say(String::from_utf8_lossy(&answered.content).trim_ascii_end());
            Exit::Failed
        }
        Err(exit) => exit,
    }
}

/// Has the running service do something, and tells what came of it.
fn order(arguments: Arguments, target: &str) -> Exit {
    let json = arguments.json;
    let answered = match ask_admin(arguments, "POST", target) {
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
fn reload_by_name(arguments: Arguments) -> Exit {
    let json = arguments.json;
    let loaded = match source(arguments).load() {
        Ok(loaded) => loaded,
        Err(problems) => return fail(&problems, json),
    };
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
/// one in the runtime directory that the shipped unit has.
fn ask_admin(arguments: Arguments, method: &str, target: &str) -> Result<Answered, Exit> {
    let loaded = source(arguments)
        .load()
        .map_err(|problems| fail(&problems, false))?;
    let unix = |address: &&Address| matches!(address, Address::Unix(_));
    let default = Address::Unix(["/run/aureond/", ADMIN_NAME].concat());
    let address = loaded.admin.iter().find(unix).unwrap_or(&default);
    ask(address, false, method, target, ORDER_PATIENCE).map_err(|error| {
        let shown = address.show();
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
    let list = text.split_once("\"lines\":[").map_or("", |(_, list)| list);
    let mut lines = Vec::new();
    let mut line: Option<String> = None;
    let mut letters = list.chars();
    while let Some(letter) = letters.next() {
        match (letter, &mut line) {
            ('"', None) => line = Some(String::new()),
            ('"', Some(_)) => lines.extend(line.take()),
            // What is escaped otherwise is a control character, which no line has.
            ('\\', Some(open)) => open.extend(letters.next()),
            (_, Some(open)) => open.push(letter),
            (']', None) => break,
            _ => {}
        }
    }
    lines
}

pub(crate) fn serve(arguments: Arguments, build: impl FnOnce(Service) -> Service) -> Exit {
    let service = match Service::new(source(arguments)) {
        Ok(service) => service,
        Err(problems) => return fail(&problems, false),
    };
    match build(service).run() {
        Ok(()) => Exit::Fine,
        Err(failure) => tell(&failure),
    }
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
