//! The life of a service that runs: orders come in, one at a time, and are obeyed in their order.
//!
//! Signals, ends of workers and whoever holds a [`Control`] send an [`Order`]; the thread that
//! called [`Supervisor::run`] obeys. So there is one place that decides what happens to the
//! process, and nothing here needs a lock.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use aureon::server::{Running, Stopper};
use aureon::sys::signal::{Signal, Signals};

use crate::health::State;
use crate::reload::Reload;
use crate::service::{Failure, failed, say};
use crate::value::{Kind, Value};

/// Orders that wait. 16: a person types them; more than that wait at the sender.
const ORDERS_MAX: usize = 16;

/// Bytes of stack of a thread that only waits and passes on. 64 KiB.
const STACK_BYTES: usize = 64 * 1024;

/// What a running service is told.
#[derive(Debug)]
pub enum Order {
    /// A signal came.
    Signal(Signal),
    /// Read the configuration again, and answer.
    Reload(SyncSender<Reply>),
    /// Every worker has ended, as it should or by an error.
    Ended(io::Result<()>),
}

/// What came of an order: a line for each thing that changed, or for each reason why not.
pub type Reply = Result<Vec<String>, Vec<String>>;

/// Sends orders from any thread.
#[derive(Clone, Debug)]
pub struct Control {
    orders: SyncSender<Order>,
}

impl Control {
    /// Gives an order. When the service has ended already there is nobody to obey, which is
    /// what the one who gives orders wanted or cannot change.
    pub fn send(&self, order: Order) {
        drop(self.orders.send(order));
    }
}

/// Obeys orders until the workers have ended.
#[derive(Debug)]
pub struct Supervisor {
    control: Control,
    orders: Receiver<Order>,
}

impl Supervisor {
    /// Catches signals from now on.
    ///
    /// # Errors
    ///
    /// The process catches them already, or has no thread or descriptor left.
    pub fn new() -> Result<Supervisor, Failure> {
        let (sender, orders) = sync_channel(ORDERS_MAX);
        let control = Control { orders: sender };
        let mut signals =
            Signals::catch().map_err(|error| failed("cannot catch signals", &error))?;
        let told = control.clone();
        let body = move || {
            while let Ok(signal) = signals.wait() {
                told.send(Order::Signal(signal));
            }
        };
        spawn("signals", body)?;
        Ok(Supervisor { control, orders })
    }

    /// A handle by which other threads give orders.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Obeys until every worker has ended; gives how they ended.
    ///
    /// # Errors
    ///
    /// There is no thread left to wait for the workers with.
    pub fn run(self, running: Running, reload: Reload) -> Result<io::Result<()>, Failure> {
        let mut life = Life {
            stopper: running.stopper(),
            reload,
            stop: Stop::No,
        };
        let told = self.control.clone();
        spawn("join", move || told.send(Order::Ended(running.join())))?;
        loop {
            match self.next(&life) {
                Some(Order::Signal(Signal::Hangup)) => life.reload(None),
                Some(Order::Signal(signal)) => life.stop(signal),
                Some(Order::Reload(reply)) => life.reload(Some(&reply)),
                Some(Order::Ended(result)) => return Ok(result),
                None => life.drain("the delay is over"),
            }
        }
    }

    /// The next order; `None` when the delay before the drain is over.
    fn next(&self, life: &Life) -> Option<Order> {
        let Stop::Delayed(until) = life.stop else {
            // A sender lives in `self`, so that there is always one.
            return self.orders.recv().ok();
        };
        let left = until.saturating_duration_since(Instant::now());
        self.orders.recv_timeout(left).ok()
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let spawned = thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_BYTES)
        .spawn(body);
    spawned
        .map(drop)
        .map_err(|error| failed("cannot start a thread", &error))
}

/// How far the end has come.
#[derive(Clone, Copy, Debug)]
enum Stop {
    No,
    /// `/readyz` says no; everything is served until then.
    Delayed(Instant),
    Draining,
}

/// A running service, as its supervisor sees it.
struct Life {
    stopper: Stopper,
    reload: Reload,
    stop: Stop,
}

impl Life {
    /// Reads the configuration again; tells standard error and whoever asked.
    fn reload(&mut self, reply: Option<&SyncSender<Reply>>) {
        let result = match self.stop {
            Stop::No => self.reload.reload(&self.stopper),
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
        if let Some(reply) = reply {
            // Whoever asked may have gone.
            drop(reply.try_send(result));
        }
    }

    /// The first signal begins the end, a second one shortens the delay, a second INT halts.
    fn stop(&mut self, signal: Signal) {
        match self.stop {
            Stop::No => {
                let config = &self.reload.loaded.config;
                self.reload.lasting.health.enter(State::Draining);
                if config.drain_delay_ms == 0 {
                    return self.drain(signal.name());
                }
                let delay_ms = u64::from(config.drain_delay_ms);
                let (told, delay) = (show(delay_ms), Duration::from_millis(delay_ms));
                say(&[signal.name(), ": not ready any more; stopping in ", &told].concat());
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
        say(&[why, ": finishing what runs, for at most ", &told].concat());
        self.stop = Stop::Draining;
        self.stopper.drain();
    }
}

fn show(ms: u64) -> String {
    Kind::Duration(0, u64::MAX).show(&Value::Number(ms))
}
