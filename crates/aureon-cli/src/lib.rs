//! AUREON's operator: it takes a fresh Debian or Ubuntu server to a site on HTTPS, and back.
//!
//! What happens, in the order of the modules: [`wanted`] is what `aureon.toml` and the command line
//! ask for; [`host`] reaches the machine through the system's own OpenSSH client; [`facts`] is what
//! one read-only script found there; [`plan`] compares the two and writes down every step with its
//! undo, as POSIX shell; [`journal`] is the part on the host that keeps each replaced byte; and
//! [`release`] is what travels. [`limits`] holds every bound. Planning is a pure function: the same
//! wishes and facts give the same plan, so a plan can be made, shown and tested without a host.
//!
//! Nothing of ours stays running on the host and nothing is compiled there: all that it needs is a
//! POSIX shell and what Debian installs with it.

pub mod arguments;
pub mod completions;
pub mod facts;
pub mod failure;
pub mod fitness;
mod flow;
pub mod help;
pub mod host;
pub mod journal;
pub mod limits;
pub mod plan;
pub mod release;
pub mod say;
pub mod wanted;

use std::process::ExitCode;

use arguments::parse_arguments;
use arguments::table::Flag;
use failure::Failure;
use say::Say;

/// Runs the command line of this process. 0 is done, 1 failed, 2 a wrong command line, 78 a wrong
/// `aureon.toml`; a refusal to touch the host (it would not work) is 69.
pub fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).collect();
    let (say, done) = match parse_arguments(arguments) {
        Ok(arguments) => {
            let has = |flag| arguments.has(flag);
            let say = Say::new(has(Flag::Json), has(Flag::Quiet), has(Flag::Verbose));
            let context = flow::Context { arguments, say };
            let done = flow::run(&context);
            (context.say, done)
        }
        Err(problems) => {
            let json = std::env::args_os().any(|argument| argument == "--json");
            (Say::new(json, false, false), Err(Failure::Usage(problems)))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say.fail(&failure);
            ExitCode::from(failure.code())
        }
    }
}
