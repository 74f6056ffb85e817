//! A worker over the simulated operating system, for tests: turns are made by hand.
//!
//! Owns nothing of the server's behaviour: it is the worker of production with [`crate::sys::sim`]
//! behind it. `tests/sim.rs`, `tests/room.rs` and `tests/wire.rs` play the clients.

use super::exchange::Shared;
use super::meter::Meter;
use super::observe::Observer;
use super::orders::{DRAIN, HALT, Orders};
use super::peers::Peers;
use super::pool::Pool;
use super::worker::Worker;
use crate::app::App;
use crate::limits::Limits;
use crate::metrics::{Metrics, Snapshot};
use crate::sys::sim::{Faults, Sim, World};
use std::sync::Arc;

/// One worker in a simulated world.
pub struct Simulation {
    /// The clients' side.
    pub world: World,
    worker: Worker<Sim>,
    orders: Arc<Orders>,
    meter: Meter,
}

impl Simulation {
    /// A worker that serves `app` in the world of a seed.
    pub fn new(seed: u64, faults: Faults, app: App, limits: Limits) -> Simulation {
        Simulation::observed(seed, faults, app, limits, None)
    }

    /// The same, with an observer.
    pub fn observed(
        seed: u64,
        faults: Faults,
        mut app: App,
        limits: Limits,
        observer: Option<Box<dyn Observer>>,
    ) -> Simulation {
        app.set_limits(&limits);
        let (world, sim) = World::new(seed, faults);
        let metrics = Arc::new(Metrics::new(1, true, &mut app));
        let pool = Pool::new(limits.pool_threads_max, limits.pool_queue_max);
        let meter = Meter::new(Arc::clone(&metrics), pool.clone());
        let shared = Arc::new(Shared {
            peers: Arc::new(Peers::new()),
            app,
            limits,
            observer: observer.map(Arc::from),
            metrics,
            pool,
        });
        let orders = Arc::new(Orders::new(shared, 1));
        let worker = Worker::new(sim, 0, 1, Arc::clone(&orders));
        Simulation {
            world,
            worker,
            orders,
            meter,
        }
    }

    /// Has every connection begin with a PROXY header.
    #[must_use]
    pub fn expect_proxy(mut self) -> Simulation {
        self.worker = self.worker.expect_proxy(vec![true]);
        self
    }

    /// What the worker has counted so far.
    pub fn metrics(&self) -> Snapshot {
        self.meter.snapshot()
    }

    /// One turn; false when the worker has ended.
    ///
    /// # Errors
    ///
    /// None in a simulated world; the signature is the worker's.
    pub fn turn(&mut self) -> std::io::Result<bool> {
        self.worker.turn()
    }

    /// Turns until nothing is left to do, or `turns` were made; false when it did not end.
    pub fn settle(&mut self, turns: usize) -> bool {
        for _ in 0..turns {
            if !self.world.is_busy() && !self.worker.goes_on() {
                return true;
            }
            if !self.worker.turn().unwrap_or(false) {
                return true;
            }
        }
        false
    }

    /// Asks for a drain.
    pub fn drain(&self) {
        self.orders.give(DRAIN);
    }

    /// Asks for an immediate end.
    pub fn halt(&self) {
        self.orders.give(HALT);
    }

    /// Puts another application in force, which the worker takes over at its next turn.
    pub fn reload(&self, app: App, limits: Limits) {
        self.orders.replace(app, limits, 1);
    }

    /// Connections the worker holds.
    pub fn connections(&self) -> usize {
        self.worker.open_connections()
    }
}
