//! From a command line to an exit code: the whole of `aureond` but its routes.
//!
//! Dispatches on the command, prints help, version and reports to standard output and every
//! mistake to standard error. A backend of one's own calls [`main`](crate::main) with its routes
//! and has the same command line.

use std::ffi::OsString;
use std::io::{self, Write};

use crate::arguments::{Arguments, Command, parse_arguments};
use crate::asking::ask;
use crate::check::{Report, write_problems_json};
use crate::config::{Loaded, Source};
use crate::health::READY_PATH;
use crate::help::{VERSION, write_help};
use crate::problem::{Exit, Place, Problem, exit_of};
use crate::service::{Service, say};
use crate::value::show_digits;

/// Runs a command line, without the program's name.
pub fn run(arguments: Vec<OsString>, build: impl FnOnce(Service) -> Service) -> Exit {
    let arguments = match parse_arguments(arguments) {
        Ok(arguments) => arguments,
        Err(problems) => return fail(&problems, false),
    };
    match arguments.command {
        Command::Help => print(write_help().as_bytes()),
        Command::Version => print(VERSION.as_bytes()),
        Command::Check => check(arguments),
        Command::Healthcheck => healthcheck(arguments),
        Command::Serve => serve(arguments, build),
    }
}

fn source(arguments: Arguments) -> Source {
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

/// Asks the first address whether the service behind it is ready.
fn healthcheck(arguments: Arguments) -> Exit {
    let loaded = match source(arguments).load() {
        Ok(loaded) => loaded,
        Err(problems) => return fail(&problems, false),
    };
    let Some(address) = loaded.addresses.first() else {
        return Exit::Failed;
    };
    match ask(address, "GET", READY_PATH) {
        Ok(answered) if answered.status == 200 => print(&answered.content),
        Ok(answered) => {
            let status = show_digits(u64::from(answered.status));
            let reason = String::from_utf8_lossy(&answered.content);
            say(&[
                &address.show(),
                " answers ",
                &status,
                ": ",
                reason.trim_end(),
            ]
            .concat());
            Exit::Failed
        }
        Err(error) => {
            say(&[
                "nobody answers on ",
                &address.show(),
                ": ",
                &error.to_string(),
            ]
            .concat());
            Exit::Failed
        }
    }
}

fn serve(arguments: Arguments, build: impl FnOnce(Service) -> Service) -> Exit {
    let service = match Service::new(source(arguments)) {
        Ok(service) => service,
        Err(problems) => return fail(&problems, false),
    };
    match build(service).run() {
        Ok(()) => Exit::Fine,
        Err(failure) => {
            for line in &failure.lines {
                say(line);
            }
            failure.exit
        }
    }
}

/// Tells every problem. One of a file begins with `file:line:column:`, which editors follow.
fn fail(problems: &[Problem], json: bool) -> Exit {
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
        out.push_str(&problem.to_string());
        out.push('\n');
    }
    // If standard error is gone there is nobody to tell; the exit code remains.
    drop(io::stderr().write_all(out.as_bytes()));
    exit_of(problems)
}

/// Prints what was asked for. A reader that has enough (`aureond help | head`) is no failure.
fn print(bytes: &[u8]) -> Exit {
    let mut out = io::stdout();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Exit::Fine,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Fine,
        Err(error) => {
            say(&["cannot write the answer: ", &error.to_string()].concat());
            Exit::Failed
        }
    }
}
