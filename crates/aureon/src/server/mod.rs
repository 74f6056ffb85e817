//! The server: listeners, workers and how to stop them. The only room that sees both the
//! protocol and the operating system.
//!
//! In reading order: this file starts and stops; `worker` is the loop; `connection` what it
//! holds for each socket; `exchange` takes one request to its answer; `deliver` sends; `timer`
//! keeps deadlines; `pool` and `mailbox` are for handlers that may block; `orders` says what the
//! workers are told; `sandbox` which files they may open; `peers` counts each client's
//! connections; `room` says who goes when there are too many; `report` counts and tells, `observe`
//! is who is told, `meter` reads the counts.

mod body;
mod connection;
mod deliver;
mod exchange;
mod held;
mod listen;
mod mailbox;
mod meter;
mod observe;
mod orders;
mod peers;
mod pool;
mod report;
mod room;
mod sandbox;
mod timer;
mod worker;

pub use listen::{Address, ListenError};
pub use meter::Meter;
pub use observe::{Ending, Exchange, Observer};
pub use orders::Stopper;
pub use sandbox::Sandbox;

#[cfg(any(test, feature = "sim"))]
pub mod sim;

use crate::app::App;
use crate::limits::Limits;
use crate::metrics::{Metrics, Snapshot};
use crate::sys::{Driver, SystemDriver, SystemWaker, thread};
use exchange::Shared;
use listen::Listeners;
use orders::Orders;
use peers::Peers;
use pool::Pool;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use worker::Worker;

/// Bytes of stack of a worker thread. 1 MiB of address space: handlers run on it.
const STACK_BYTES: usize = 1024 * 1024;

/// A server that is being put together.
///
/// ```no_run
/// use aureon::{Router, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut router = Router::new();
/// router.get("/", |_| "Hello");
/// Server::new(router.build()?).listen("127.0.0.1:8080")?.start()?.join()?;
/// # Ok(())
/// # }
/// ```
pub struct Server {
    app: App,
    limits: Limits,
    workers: Option<usize>,
    observer: Option<Arc<dyn Observer>>,
    timed: bool,
    listeners: Listeners,
    sandbox: Option<Sandbox>,
}

impl Server {
    /// A server for an application, with the default limits and a worker for each CPU.
    pub fn new(app: App) -> Server {
        Server {
            app,
            limits: Limits::DEFAULT,
            workers: None,
            observer: None,
            timed: false,
            listeners: Listeners::default(),
            sandbox: None,
        }
    }

    /// Replaces the limits. Set them before `listen`: the backlog is one of them.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Server {
        self.limits = limits;
        self
    }

    /// Sets the number of worker threads; at least one. Without it there is one for each CPU
    /// that this process may use, a cgroup's quota honoured.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Server {
        self.workers = Some(workers.max(1));
        self
    }

    /// Sets who is told of exchanges, refusals and trouble.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Server {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Confines workers and pool threads to these files, where the kernel can: see [`Sandbox`].
    #[must_use]
    pub fn sandbox(mut self, sandbox: Sandbox) -> Server {
        self.sandbox = Some(sandbox);
        self
    }

    /// Whether exchanges and the workers' busy time are timed and counted, by route, method and
    /// status. It costs two readings of the clock a turn, one for each exchange, and about fifty
    /// instructions. Without it [`Running::meter`] still counts connections, bytes, refusals and
    /// limits.
    #[must_use]
    pub fn metrics(mut self, timed: bool) -> Server {
        self.timed = timed;
        self
    }

    /// Sets the permissions of the Unix sockets that are listened on from now on: `0o600` for the
    /// owner alone. Without it they are what the process's umask leaves.
    #[must_use]
    pub fn unix_mode(mut self, mode: u32) -> Server {
        self.listeners.unix_mode = Some(mode);
        self
    }

    /// Listens on an address: `127.0.0.1:8080`, `[::]:8080`, or `unix:/path`. May be called
    /// several times.
    ///
    /// # Errors
    ///
    /// The address can't be read or bound; the error names it and the cause.
    pub fn listen(mut self, address: &str) -> Result<Server, ListenError> {
        self.listeners.bind(address, self.limits.backlog)?;
        Ok(self)
    }

    /// Listens on a socket that a parent process opened, by its descriptor, which is the
    /// server's from now on.
    ///
    /// # Errors
    ///
    /// The descriptor is not open, or is no listening stream socket.
    pub fn listen_inherited(mut self, descriptor: u32) -> Result<Server, ListenError> {
        self.listeners.inherit(descriptor, false)?;
        Ok(self)
    }

    /// The same for a listener that another server handed over when it ended: see
    /// [`Stopper::listeners_to_inherit`]. The path of a Unix socket is removed at the end.
    ///
    /// # Errors
    ///
    /// The descriptor is not open, or is no listening stream socket.
    pub fn listen_handed_over(mut self, descriptor: u32) -> Result<Server, ListenError> {
        self.listeners.inherit(descriptor, true)?;
        Ok(self)
    }

    /// Closes the listeners of addresses that are not wanted after all, such as an inherited one
    /// that a new configuration no longer names.
    #[must_use]
    pub fn retain(mut self, keep: impl Fn(&Address) -> bool) -> Server {
        self.listeners.retain(keep);
        self
    }

    /// Has every connection of these addresses begin with a header of the PROXY protocol, version 1
    /// or 2, as proxies of connections write it. Call it after `listen`.
    ///
    /// The header's client is then the peer. Only a peer that
    /// [`Router::trust`](crate::Router::trust) lists may name one; loopback and Unix sockets may
    /// connect for themselves (`LOCAL`), everybody else is refused, as is what begins otherwise.
    #[must_use]
    pub fn expect_proxy(mut self, expects: impl Fn(&Address) -> bool) -> Server {
        self.listeners.expect_proxy(expects);
        self
    }

    /// The addresses bound so far, with the ports that the kernel chose.
    pub fn addresses(&self) -> Vec<Address> {
        self.listeners.addresses()
    }

    /// Starts the workers.
    ///
    /// # Errors
    ///
    /// There is nothing to listen on, a path of the sandbox is missing, or the system has no
    /// descriptors or threads left.
    pub fn start(mut self) -> io::Result<Running> {
        let addresses = self.listeners.addresses();
        if addresses.is_empty() {
            let text = "nothing to listen on: call Server::listen first";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let workers = self.workers.unwrap_or_else(workers_by_default);
        let limits = self.limits;
        self.app.set_limits(&limits);
        let metrics = Arc::new(Metrics::new(workers, self.timed, &mut self.app));
        let pool = Pool::new(limits.pool_threads_max, limits.pool_queue_max);
        let meter = Meter::new(Arc::clone(&metrics), pool.clone());
        let shared = Arc::new(Shared {
            app: self.app,
            limits,
            observer: self.observer,
            metrics,
            pool,
            peers: Arc::new(Peers::new()),
        });
        let orders = Arc::new(Orders::new(shared, workers));
        let shares = self.listeners.for_workers(workers, limits.backlog)?;
        orders.keep(shares.copies, shares.unix_paths);
        let mut drivers = Vec::with_capacity(workers);
        for (listeners, proxied) in shares.sets {
            drivers.push((SystemDriver::new(listeners, workers)?, proxied));
        }
        let ruleset = match &self.sandbox {
            Some(sandbox) => sandbox.ruleset()?.map(Arc::new),
            None => None,
        };
        let wakers: Arc<[SystemWaker]> = drivers.iter().map(|(driver, _)| driver.waker()).collect();
        let stopper = Stopper::new(Arc::clone(&orders), wakers);
        let mut running = Running {
            addresses,
            stopper,
            meter,
            threads: Vec::new(),
            sandboxed: ruleset.is_some(),
            orders: Arc::clone(&orders),
        };
        for (index, (driver, proxied)) in drivers.into_iter().enumerate() {
            let orders = Arc::clone(&orders);
            let stopper = running.stopper.clone();
            let ruleset = ruleset.clone();
            let body = move || {
                let fall = Fall(Some(stopper));
                if let Some(ruleset) = ruleset {
                    // The pool's threads are started by workers and inherit it.
                    ruleset.restrict_thread()?;
                }
                Worker::new(driver, index, workers, orders)
                    .expect_proxy(proxied)
                    .run()?;
                fall.stand();
                Ok(())
            };
            let name = format!("aureon-{index}");
            match thread::start(&name, STACK_BYTES, Box::new(body)) {
                Ok(thread) => running.threads.push(thread),
                Err(error) => {
                    running.stopper.halt();
                    return Err(error);
                }
            }
        }
        Ok(running)
    }
}

/// Halts the other workers when one ends by an error, or by a panic that would be a bug of ours:
/// half a server is worse than none, because nobody notices.
struct Fall(Option<Stopper>);

impl Fall {
    /// The worker has ended as it should.
    fn stand(mut self) {
        // Taken rather than forgotten: it holds descriptors and the application.
        self.0 = None;
    }
}

impl Drop for Fall {
    fn drop(&mut self) {
        if let Some(stopper) = &self.0 {
            stopper.halt();
        }
    }
}

/// One for each CPU of this process; std reads the affinity mask and the cgroup's quota.
fn workers_by_default() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A server that serves.
pub struct Running {
    addresses: Vec<Address>,
    stopper: Stopper,
    meter: Meter,
    threads: Vec<JoinHandle<io::Result<()>>>,
    sandboxed: bool,
    orders: Arc<Orders>,
}

impl Running {
    /// What it listens on, with the ports that the kernel chose.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Whether the kernel confines workers and pool threads to their [`Sandbox`].
    pub fn is_sandboxed(&self) -> bool {
        self.sandboxed
    }

    /// A handle that stops it, for other threads.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// A handle that reads its counters, for other threads.
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// What it has counted so far.
    pub fn metrics(&self) -> Snapshot {
        self.meter.snapshot()
    }

    /// Waits until every worker has ended.
    ///
    /// # Errors
    ///
    /// The first error for which a worker could not go on.
    pub fn join(mut self) -> io::Result<()> {
        let mut result = Ok(());
        for thread in self.threads.drain(..) {
            let ended = thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a worker panicked; this is a bug")));
            result = result.and(ended);
        }
        self.orders.remove_unix_paths();
        result
    }
}
