//! What a running service does with the orders it is given: reload, upgrade, stop.
//!
//! Everything happens on the supervisor's thread, one order after the other, so that a reload
//! never meets an upgrade and a stop ends both.

use std::time::{Duration, Instant};

use aureon::server::Stopper;
use aureon::sys::signal::Signal;

use crate::check::write_config_json;
use crate::health::State;
use crate::queue::Sender;
use crate::reload::Reload;
use crate::service::{say, say_parts};
use crate::supervisor::{Ask, Control, Reply};
use crate::systemd::Manager;
use crate::upgrade::{Said, Upgrade};
use crate::value::{Kind, Value, show_digits};
use crate::watchdog::Watchdog;

/// How far the end has come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    No,
    /// `/readyz` says no; everything is served until then.
    Delayed(Instant),
    Draining,
}

/// A running service, as its supervisor sees it.
pub(crate) struct Life {
    pub(crate) stopper: Stopper,
    pub(crate) control: Control,
    pub(crate) reload: Reload,
    pub(crate) manager: Manager,
    pub(crate) watchdog: Watchdog,
    /// A service manager keeps the sockets.
    pub(crate) held: bool,
    pub(crate) upgrade: Option<Upgrade>,
    /// Who waits for how the upgrade ends.
    pub(crate) asked: Option<Sender<Reply>>,
    /// The admin listener, which is handed over too.
    pub(crate) admin: Option<Stopper>,
    pub(crate) stop: Stop,
}

impl Life {
    /// When something has to be looked at without an order.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let delay = match self.stop {
            Stop::Delayed(until) => Some(until),
            Stop::No | Stop::Draining => None,
        };
        let upgrade = self.upgrade.as_ref().map(|upgrade| upgrade.deadline);
        let mut next = None;
        for due in [delay, upgrade, self.watchdog.due] {
            // None is less than any time.
            if due.is_some() && (next.is_none() || due < next) {
                next = due;
            }
        }
        next
    }

    pub(crate) fn on_due(&mut self, now: Instant) {
        self.watchdog.look(now, &self.stopper, &self.manager);
        if matches!(self.stop, Stop::Delayed(until) if until <= now) {
            self.drain("the delay is over");
        }
        if self
            .upgrade
            .as_ref()
            .is_some_and(|upgrade| upgrade.deadline <= now)
        {
            self.give_up("it is not ready in time");
        }
    }

    /// Does what somebody waits for.
    pub(crate) fn answer(&mut self, ask: Ask, reply: Sender<Reply>) {
        let result = match ask {
            Ask::Reload => self.reload(),
            Ask::Upgrade => return self.upgrade(Some(reply)),
            Ask::Config => Ok(vec![write_config_json(&self.reload.loaded)]),
        };
        // Whoever asked may have gone; the queue has room for the one answer.
        let _ = reply.send(result);
    }

    /// Reads the configuration again; tells standard error what came of it.
    pub(crate) fn reload(&mut self) -> Reply {
        let result = match (self.stop, &self.upgrade) {
            (Stop::No, None) => {
                self.manager.reloading();
                let result = self.reload.reload(&self.stopper);
                self.manager.ready("serving");
                result
            }
            (Stop::No, Some(_)) => Err(vec!["an upgrade is under way".to_owned()]),
            _ => Err(vec!["the service is stopping".to_owned()]),
        };
        match &result {
            Ok(changes) => {
                say("reloaded");
                changes.iter().for_each(|line| say(line));
            }
            Err(reasons) => {
                say("not reloaded, everything stays as it was:");
                reasons.iter().for_each(|line| say(line));
            }
        }
        result
    }

    /// Opens the log's file again.
    pub(crate) fn reopen(&self) {
        say(match self.reload.logging.reopen() {
            true => "USR1: the log's file is opened again",
            false => "USR1: the log has no file; log_file names one",
        });
    }

    /// Starts the process that is to take over.
    pub(crate) fn upgrade(&mut self, asked: Option<Sender<Reply>>) {
        let refused = match (self.stop, &self.upgrade) {
            (Stop::No, Some(_)) => Some("an upgrade is under way"),
            (Stop::No, None) if std::process::id() == 1 => {
                Some("the first process of a container ends the container; start another one")
            }
            (Stop::No, None) => None,
            _ => Some("the service is stopping"),
        };
        let refuse = |reason: &str| {
            let line = ["no upgrade: ", reason].concat();
            say(&line);
            if let Some(asked) = &asked {
                let _ = asked.send(Err(vec![line]));
            }
        };
        if let Some(reason) = refused {
            return refuse(reason);
        }
        match Upgrade::start(&self.stopper, self.admin.as_ref(), self.held, &self.control) {
            Ok(upgrade) => {
                let pid = show_digits(u64::from(upgrade.pid()));
                say_parts(&["upgrade: process ", &pid, " is to take over"]);
                self.upgrade = Some(upgrade);
                self.asked = asked;
            }
            Err(error) => refuse(&error.to_string()),
        }
    }

    pub(crate) fn on_successor(&mut self, said: Said) {
        let Some(upgrade) = &mut self.upgrade else {
            return;
        };
        match said {
            Said::Started => {
                self.stopper.pause();
                upgrade.say_paused();
            }
            Said::Ready => {
                let pid = upgrade.pid();
                self.upgrade = None;
                self.manager.handed_over(pid);
                self.stop = Stop::Draining;
                self.stopper.hand_over();
                // Before anybody is told: who asks for the status then, or for a reload, is to
                // find the new process.
                if let Some(admin) = &self.admin {
                    admin.hand_over();
                }
                let pid = show_digits(u64::from(pid));
                let line = ["process ", &pid, " has taken over"].concat();
                say_parts(&[&line, ": finishing what runs"]);
                self.tell(Ok(vec![line]));
            }
            Said::Gone => self.give_up("it ended"),
        }
    }

    fn give_up(&mut self, why: &str) {
        if let Some(upgrade) = self.upgrade.take() {
            let how = upgrade.give_up();
            self.stopper.resume();
            let what = ["upgrade failed, ", why, " (", &how];
            let line = [&what.concat(), "); this process serves on"].concat();
            say(&line);
            self.tell(Err(vec![line]));
        }
    }

    /// Tells whoever waits for the upgrade.
    fn tell(&mut self, reply: Reply) {
        if let Some(asked) = self.asked.take() {
            // He may have gone.
            let _ = asked.send(reply);
        }
    }

    /// The first signal begins the end, a second one shortens the delay, a second INT halts.
    pub(crate) fn stop(&mut self, signal: Signal) {
        match self.stop {
            Stop::No => {
                self.give_up("the service is stopping");
                let config = &self.reload.loaded.config;
                self.reload.lasting.health.enter(State::Draining);
                self.manager.stopping();
                if config.drain_delay_ms == 0 {
                    return self.drain(signal.name());
                }
                let delay_ms = u64::from(config.drain_delay_ms);
                let (told, delay) = (show(delay_ms), Duration::from_millis(delay_ms));
                let line = [signal.name(), ": not ready any more; stopping in ", &told];
                say(&line.concat());
                self.stop = Stop::Delayed(Instant::now() + delay);
            }
            Stop::Delayed(_) | Stop::Draining if signal == Signal::Interrupt => {
                say("INT again: stopping at once");
                self.stop = Stop::Draining;
                self.stopper.halt();
            }
            Stop::Delayed(_) => self.drain(signal.name()),
            Stop::Draining => {}
        }
    }

    fn drain(&mut self, why: &str) {
        let patience_ms = self.reload.loaded.config.limits.drain_timeout_ms;
        let told = show(u64::from(patience_ms));
        say_parts(&[why, ": finishing what runs, for at most ", &told]);
        self.stop = Stop::Draining;
        self.stopper.drain();
    }

    /// The workers have ended: nobody may be left behind.
    pub(crate) fn end(&mut self) {
        self.give_up("the service has ended");
    }
}

fn show(ms: u64) -> String {
    Kind::Duration(0, u64::MAX).show(&Value::Number(ms))
}
