//! From a command line to an exit code: the whole of `aureond` but its routes.
//!
//! Dispatches on the command, prints help, version and reports to standard output and every
//! mistake to standard error. A backend of one's own calls [`main`](crate::main) with its routes
//! and has the same command line.

use std::ffi::OsString;
use std::io::{self, Write};

use aureon::Router;

use crate::arguments::{Arguments, Command, parse_arguments};
use crate::check::{Report, write_problems_json};
use crate::config::{Inputs, Loaded, load};
use crate::help::{VERSION, write_help};
use crate::problem::{Exit, Place, Problem, exit_of};
use crate::service::{Service, say};

/// Runs a command line, without the program's name.
pub fn run(arguments: Vec<OsString>, routes: impl FnOnce(&mut Router)) -> Exit {
    let arguments = match parse_arguments(arguments) {
        Ok(arguments) => arguments,
        Err(problems) => return fail(&problems, false),
    };
    match arguments.command {
        Command::Help => print(write_help().as_bytes()),
        Command::Version => print(VERSION.as_bytes()),
        Command::Check => check(arguments),
        Command::Serve => serve(arguments, routes),
    }
}

fn load_all(arguments: Arguments) -> Result<Loaded, Vec<Problem>> {
    let inputs = Inputs::collect(arguments.config.as_deref(), arguments.flags);
    load(&inputs.map_err(|problem| vec![problem])?)
}

fn check(arguments: Arguments) -> Exit {
    let json = arguments.json;
    let loaded = match load_all(arguments) {
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

fn serve(arguments: Arguments, routes: impl FnOnce(&mut Router)) -> Exit {
    let loaded = match load_all(arguments) {
        Ok(loaded) => loaded,
        Err(problems) => return fail(&problems, false),
    };
    match Service::new(loaded).routes(routes).run() {
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
