//! Another process of the same program takes over: the old side and the new side.
//!
//! The old process starts the program from where it was started, which may be a new release by
//! now, and leaves it copies of all listeners. The two talk over a socket pair:
//!
//! ```text
//!  new: "started"   its workers accept      old: pauses accepting, says "paused"
//!  new: "ready"     a request through every listener was answered by itself
//!                                           old: hands over, finishes what runs, ends
//! ```
//!
//! A new process that ends, or is not ready in time, changes nothing: the old one accepts again.
//! No connection is lost in any case, since the listeners' queues belong to both.

use std::env;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use aureon::server::Stopper;
use aureon::sys::process::{self, Channel, Child, Ended};
use aureon::sys::socket::Inheritable;

use crate::supervisor::{Control, Order, spawn};
use crate::systemd::OWN_VARIABLES;
use crate::value::show_digits;

/// How long a new process may take until it is ready. 30 s: starting takes milliseconds, a
/// program of somebody's own may open a database.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The variable that tells a new process its end of the pair and the listeners. It does not
/// begin with `AUREON_`, because it is no setting.
const VARIABLE: &str = "_AUREON_TAKES_OVER";

/// What a new process says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Its workers accept.
    Started,
    /// It answers.
    Ready,
    /// Nothing any more: it ended, or is ending.
    Gone,
}

/// The old side of an upgrade under way.
#[derive(Debug)]
pub struct Upgrade {
    child: Child,
    pair: Channel,
    /// When the old process loses its patience.
    pub deadline: Instant,
}

impl Upgrade {
    /// Starts the new process.
    ///
    /// # Errors
    ///
    /// The program can not be started, or the machine has nothing left.
    pub fn start(
        stopper: &Stopper,
        admin: Option<&Stopper>,
        held: bool,
        control: &Control,
    ) -> io::Result<Upgrade> {
        let listeners = stopper.listeners_to_inherit()?;
        let admin = match admin {
            Some(admin) => admin.listeners_to_inherit()?,
            None => Vec::new(),
        };
        let (pair, theirs) = Channel::pair()?;
        let handed = write_handed(&theirs, &listeners, &admin, held);
        let is_own =
            |name: &OsStr| name == VARIABLE || OWN_VARIABLES.iter().any(|own| name == *own);
        let mut environment = vec![(VARIABLE.into(), handed.into())];
        for (name, value) in env::vars_os() {
            if !is_own(&name) {
                environment.push((name, value));
            }
        }
        let child = process::start(&program()?, env::args_os(), environment.into_iter())?;
        drop((theirs, listeners, admin));
        let (mut reader, told) = (pair.try_clone()?, control.clone());
        spawn("upgrade", move || {
            let mut byte = [0];
            while matches!(reader.read(&mut byte), Ok(1)) {
                match byte[0] {
                    STARTED => told.send(Order::Successor(Said::Started)),
                    READY => return told.send(Order::Successor(Said::Ready)),
                    _ => {}
                }
            }
            told.send(Order::Successor(Said::Gone));
        })
        .map_err(|failure| io::Error::other(failure.lines.concat()))?;
        Ok(Upgrade {
            child,
            pair,
            deadline: Instant::now() + PATIENCE,
        })
    }

    /// The new process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells the new process that it alone accepts now.
    pub fn say_paused(&mut self) {
        // If it is gone, its end of the pair says so.
        drop(self.pair.write_all(&[PAUSED]));
    }

    /// Gives up: ends the new process if it still runs, and says how it ended.
    pub fn give_up(self) -> String {
        let (kind, number) = match self.child.kill() {
            Ok(Ended::Code(code)) => ("exit code ", code),
            Ok(Ended::Signal(signal)) => ("signal ", signal),
            Err(error) => return error.to_string(),
        };
        [kind, &show_digits(u64::from(number.unsigned_abs()))].concat()
    }
}

const STARTED: u8 = b's';
const PAUSED: u8 = b'p';
const READY: u8 = b'r';

/// What was typed to start this process: behind it may be a new release, where the program's
/// own path is still that of the old one.
fn program() -> io::Result<std::path::PathBuf> {
    match env::args_os().next() {
        Some(name) if name.to_string_lossy().contains('/') => Ok(name.into()),
        _ => env::current_exe(),
    }
}

/// `PAIR;KIND;LISTENER,LISTENER;ADMIN,ADMIN`.
fn write_handed(
    pair: &Inheritable,
    listeners: &[Inheritable],
    admin: &[Inheritable],
    held: bool,
) -> String {
    let digits = |one: &Inheritable| show_digits(u64::from(process::number(one)));
    let numbers = |all: &[Inheritable]| {
        let mut numbers = String::new();
        for one in all {
            if !numbers.is_empty() {
                numbers.push(',');
            }
            numbers.push_str(&digits(one));
        }
        numbers
    };
    let kind = if held { ";held;" } else { ";own;" };
    [
        &digits(pair),
        kind,
        &numbers(listeners),
        ";",
        &numbers(admin),
    ]
    .concat()
}

/// What [`write_handed`] wrote.
fn parse_handed(text: &str) -> Option<(u32, bool, Vec<u32>, Vec<u32>)> {
    let mut parts = text.splitn(4, ';');
    let pair = parts.next()?.parse().ok()?;
    let held = parts.next()? == "held";
    let listeners = parse_numbers(parts.next()?)?;
    Some((pair, held, listeners, parse_numbers(parts.next()?)?))
}

fn parse_numbers(list: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for word in list.split(',').filter(|word| !word.is_empty()) {
        numbers.push(word.parse().ok()?);
    }
    Some(numbers)
}

/// The new side: what the old process left.
#[derive(Debug)]
pub struct Handed {
    /// The listeners' numbers.
    pub listeners: Vec<u32>,
    /// Those of the admin listener.
    pub admin: Vec<u32>,
    /// They belong to a service manager rather than to the old process.
    pub held: bool,
    pair: Channel,
}

impl Handed {
    /// What the environment says, if this process is to take over.
    ///
    /// # Errors
    ///
    /// The variable makes no sense: nobody but this program sets it.
    pub fn from_environment() -> io::Result<Option<Handed>> {
        let Some(text) = env::var_os(VARIABLE) else {
            return Ok(None);
        };
        let parsed = text.to_str().and_then(parse_handed);
        let Some((pair, held, listeners, admin)) = parsed else {
            return Err(io::Error::other([VARIABLE, " makes no sense"].concat()));
        };
        Ok(Some(Handed {
            listeners,
            admin,
            held,
            pair: Channel::inherited(pair)?,
        }))
    }

    /// Says that the workers accept, and waits until the old ones do not.
    ///
    /// # Errors
    ///
    /// The old process is gone.
    pub fn start(&mut self) -> io::Result<()> {
        self.pair.set_read_timeout(PATIENCE)?;
        self.pair.write_all(&[STARTED])?;
        self.pair.read_exact(&mut [0])
    }

    /// Says that requests are answered: the old process ends.
    ///
    /// # Errors
    ///
    /// The old process is gone.
    pub fn finish(mut self) -> io::Result<()> {
        self.pair.write_all(&[READY])
    }
}
