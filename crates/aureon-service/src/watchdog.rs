//! Does every worker turn? A service manager that asked is told so, and only if it is true.
//!
//! At half the interval the manager asked for, each worker must have turned since the last look;
//! idle ones are woken for it. One that a handler holds does not turn, and then nothing is told:
//! the manager starts the service anew, and the log says which worker it was.

use std::time::{Duration, Instant};

use aureon::server::Stopper;

use crate::service::say_parts;
use crate::systemd::Manager;
use crate::value::show_digits;

/// The watch over the workers.
#[derive(Debug)]
pub struct Watchdog {
    /// Between two looks; without one nobody asked.
    interval: Option<Duration>,
    /// When to look next.
    pub due: Option<Instant>,
    turns: Vec<u64>,
    told: bool,
}

impl Watchdog {
    /// A watch for a manager that wants to hear within `within`.
    pub fn new(within: Option<Duration>, stopper: &Stopper) -> Watchdog {
        // sd_watchdog_enabled(3): half of the interval is the recommended time.
        let interval = within.map(|within| within / 2);
        let mut watchdog = Watchdog {
            interval,
            due: None,
            turns: Vec::new(),
            told: false,
        };
        watchdog.look_later(stopper);
        watchdog
    }

    /// Looks at the workers, if it is time.
    pub fn look(&mut self, now: Instant, stopper: &Stopper, manager: &Manager) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        let turns = stopper.turns();
        let stuck = self
            .turns
            .iter()
            .zip(&turns)
            .position(|(before, now)| before == now);
        match stuck {
            None => {
                self.told = false;
                manager.alive();
            }
            Some(_) if self.told => {}
            Some(worker) => {
                self.told = true;
                let number = show_digits(worker as u64);
                say_parts(&["worker ", &number, " does not turn: a handler holds it"]);
            }
        }
        self.look_later(stopper);
    }

    fn look_later(&mut self, stopper: &Stopper) {
        self.due = self.interval.map(|interval| Instant::now() + interval);
        if self.due.is_some() {
            self.turns = stopper.turns();
            stopper.wake();
        }
    }
}
