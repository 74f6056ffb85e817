//! The client side of all that is measured. It verifies every answer: a server that is fast
//! because it is wrong must not be measured.
//!
//! | command | asks |
//! | --- | --- |
//! | `load run` | closed-loop load on keep-alive, pipelined or one-request connections |
//! | `load hold` | open N connections, answer one request on each, again whenever told to |
//! | `load start` | from exec to the first whole 200, many times |
//! | `load normal` | a user's open loop at a fixed rate, each failure counted by its kind |
//! | `load attack` | clients that a server would rather not have |
//! | `load half-open` | handshakes that are never finished |
//! | `load soak` | every kind of request at once for N seconds, contents compared |
//! | `load tally` | what a JSON access log says happened, in counts |
//!
//! `load files` writes what is asked for. Results are a line of JSON; an error is an exit code.

mod answer;
mod attack;
mod client;
mod files;
mod half_open;
mod hold;
mod normal;
mod run;
mod soak;
mod socket;
mod start;
mod tally;

use std::net::SocketAddrV4;
use std::process::ExitCode;

/// What went wrong, for the person at the terminal.
pub(crate) type Failure = String;

const USAGE: &str = "\
load run ADDRESS [--path /plaintext] [--body-bytes 13] [--connections 64] [--pipeline 1]
                 [--browser] [--close] (--seconds 1.0 | --requests N)
load hold ADDRESS [--path /plaintext] [--body-bytes 13] [--connections 10000]
load start ADDRESS [--path /plaintext] [--runs 100] [--core N] -- COMMAND...
load files DIR
load normal ADDRESS [--rate 500] [--seconds 2] [--path /1k.bin] [--body-bytes 1024] [--absent]
                 [--from 127.0.0.2] [--sources 32]
load attack KIND ADDRESS [--connections 100] [--rate 2000] [--bytes 50e6] [--seconds 5]
                 [--path /10m.bin] [--from 127.0.0.2] [--sources 1]
load half-open ADDRESS --from FIRST [--sources 100] [--rate 2000] [--seconds 5]
load soak ADDRESS [--seconds 60] [--api /api/message] [--echo PATH] [--seed 1] [--pause-ms 0]
                  [--faults]
load tally [FILE...]";

/// Arguments by name; what is not given has a default where it is asked for.
pub(crate) struct Options {
    positional: Vec<String>,
    named: Vec<(String, String)>,
    flags: Vec<String>,
    /// What follows `--`.
    pub(crate) command: Vec<String>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, Failure> {
        let mut options = Options {
            positional: vec![],
            named: vec![],
            flags: vec![],
            command: vec![],
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--" => options.command = arguments.by_ref().collect(),
                "--browser" | "--close" | "--faults" | "--absent" => {
                    options.flags.push(argument);
                }
                name if name.starts_with("--") => {
                    let value = arguments.next().ok_or(format!("{name} needs a value"))?;
                    options.named.push((argument, value));
                }
                _ => options.positional.push(argument),
            }
        }
        Ok(options)
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.flags.iter().any(|flag| flag == name)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let found = self.named.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str, or: T) -> Result<T, Failure> {
        self.text(name).map_or(Ok(or), |value| {
            value
                .parse()
                .map_err(|_| format!("{name}: {value} is not a number"))
        })
    }

    fn first(&self) -> Result<&str, Failure> {
        self.positional
            .first()
            .map(String::as_str)
            .ok_or(format!("usage:\n{USAGE}"))
    }

    pub(crate) fn all(&self) -> &[String] {
        &self.positional
    }

    pub(crate) fn address(&self) -> Result<SocketAddrV4, Failure> {
        self.address_at(0)
    }

    /// The address among the positional arguments.
    pub(crate) fn address_at(&self, at: usize) -> Result<SocketAddrV4, Failure> {
        let text = self.positional.get(at).map_or("nothing", String::as_str);
        text.parse()
            .map_err(|_| format!("{text} is not ADDRESS:PORT"))
    }

    /// The first of the addresses that connections come from.
    pub(crate) fn from(&self) -> Result<SocketAddrV4, Failure> {
        let text = self.text("--from").unwrap_or("127.0.0.2");
        let address = text.parse();
        address
            .map(|address| SocketAddrV4::new(address, 0))
            .map_err(|_| format!("{text} is not an address"))
    }
}

fn dispatch() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let options = Options::parse(arguments)?;
    match command.as_str() {
        "run" => run::run(&options),
        "hold" => hold::hold(&options),
        "start" => start::start(&options),
        "files" => files::write_all(options.first()?.as_ref()),
        "normal" => normal::normal(&options),
        "attack" => attack::attack(&options),
        "half-open" => half_open::half_open(&options),
        "soak" => soak::soak(&options),
        "tally" => tally::tally(&options),
        _ => Err(format!("usage:\n{USAGE}")),
    }
}

fn main() -> ExitCode {
    match dispatch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("load: {failure}");
            ExitCode::FAILURE
        }
    }
}
