//! The life of a service that runs: orders come in, one at a time, and are obeyed in their order.
//!
//! Signals, ends of workers and whoever holds a [`Control`] send an [`Order`]; the thread that
//! called [`Supervisor::run`] obeys. So there is one place that decides what happens to the
//! process, and nothing here needs a lock.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use aureon::server::{Running, Stopper};
use aureon::sys::signal::{Signal, Signals};

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
    /// Every worker has ended, as it should or by an error.
    Ended(io::Result<()>),
}

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
    pub fn run(self, running: Running, drain_timeout_ms: u32) -> Result<io::Result<()>, Failure> {
        let stopper = running.stopper();
        let told = self.control.clone();
        spawn("join", move || told.send(Order::Ended(running.join())))?;
        let mut draining = false;
        while let Ok(order) = self.orders.recv() {
            match order {
                Order::Signal(signal) => {
                    stop(signal, &stopper, draining, drain_timeout_ms);
                    draining = true;
                }
                Order::Ended(result) => return Ok(result),
            }
        }
        Ok(Ok(()))
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

/// The first signal drains, a second INT halts.
fn stop(signal: Signal, stopper: &Stopper, draining: bool, drain_timeout_ms: u32) {
    if draining && signal == Signal::Interrupt {
        say("INT again: stopping at once");
        stopper.halt();
    } else if !draining {
        let patience = Kind::Duration(0, u64::MAX).show(&Value::Number(drain_timeout_ms.into()));
        let told = [
            signal.name(),
            ": finishing what runs, for at most ",
            &patience,
        ];
        say(&told.concat());
        stopper.drain();
    }
}
