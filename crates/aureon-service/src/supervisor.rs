//! The life of a service that runs: orders come in, one at a time, and are obeyed in their order.
//!
//! Signals, ends of workers and whoever holds a [`Control`] send an [`Order`]; the thread that
//! called [`Supervisor::run`] obeys. So there is one place that decides what happens to the
//! process, and nothing here needs a lock.

use std::io;
use std::time::Instant;

use aureon::server::Running;
use aureon::sys::signal::{Signal, Signals};
use aureon::sys::thread;

use crate::life::{Life, Stop};
use crate::queue::{Receiver, Sender, queue};
use crate::reload::Reload;
use crate::service::{Failure, failed};
use crate::systemd::Manager;
use crate::upgrade::Said;
use crate::watchdog::Watchdog;

/// Orders that wait. 16: a person types them; more than that wait at the sender.
const ORDERS_MAX: usize = 16;

/// Bytes of stack of a thread that only waits and passes on. 64 KiB.
const STACK_BYTES: usize = 64 * 1024;

/// What a running service is told.
#[derive(Debug)]
pub enum Order {
    /// A signal came.
    Signal(Signal),
    /// Somebody waits for what comes of this.
    Ask(Ask, Sender<Reply>),
    /// The process that is to take over says something.
    Successor(Said),
    /// Every worker has ended, as it should or by an error.
    Ended(io::Result<()>),
}

/// What a person or a program asks a running service for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Read the configuration again.
    Reload,
    /// Hand over to a new process.
    Upgrade,
    /// Tell the configuration in force, as JSON in one line.
    Config,
}

/// What came of an order: a line for each thing that changed, or for each reason why not.
pub type Reply = Result<Vec<String>, Vec<String>>;

/// Sends orders from any thread.
#[derive(Clone, Debug)]
pub struct Control {
    orders: Sender<Order>,
}

impl Control {
    /// Gives an order. When the service has ended already there is nobody to obey, which is
    /// what the one who gives orders wanted or cannot change.
    pub fn send(&self, order: Order) {
        let _ = self.orders.send(order);
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
        let (sender, orders) = queue(ORDERS_MAX);
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

    /// Obeys until every worker has ended; gives how they ended. `held` says that a service
    /// manager keeps the sockets. The admin listener ends last.
    ///
    /// # Errors
    ///
    /// There is no thread left to wait for the workers with.
    pub fn run(
        self,
        running: Running,
        reload: Reload,
        manager: Manager,
        held: bool,
        admin: Option<Running>,
    ) -> Result<io::Result<()>, Failure> {
        let mut life = Life {
            stopper: running.stopper(),
            watchdog: Watchdog::new(manager.watchdog, &running.stopper()),
            control: self.control.clone(),
            reload,
            manager,
            held,
            upgrade: None,
            asked: None,
            admin: admin.as_ref().map(Running::stopper),
            stop: Stop::No,
        };
        let told = self.control.clone();
        spawn("join", move || told.send(Order::Ended(running.join())))?;
        loop {
            match self.next(life.next_due()) {
                Some(Order::Signal(Signal::Hangup)) => drop(life.reload()),
                Some(Order::Signal(Signal::User1)) => life.reopen(),
                Some(Order::Signal(Signal::User2)) => life.upgrade(None),
                Some(Order::Signal(signal)) => life.stop(signal),
                Some(Order::Ask(ask, reply)) => life.answer(ask, reply),
                Some(Order::Successor(said)) => life.on_successor(said),
                Some(Order::Ended(result)) => {
                    life.end();
                    if let Some(admin) = admin {
                        admin.stopper().drain();
                        return Ok(result.and(admin.join()));
                    }
                    return Ok(result);
                }
                None => life.on_due(Instant::now()),
            }
        }
    }

    /// The next order; `None` when the time has come.
    fn next(&self, due: Option<Instant>) -> Option<Order> {
        // A sender lives in `self`, so that there is always one.
        self.orders.receive(due)
    }
}

/// Starts a thread that only waits and passes on.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let body = || {
        body();
        Ok(())
    };
    thread::start(name, STACK_BYTES, Box::new(body))
        .map(drop)
        .map_err(|error| failed("cannot start a thread", &error))
}
