//! What the workers of a running server are told from outside: to stop, or to go on with another
//! application.
//!
//! A worker looks at two atomics a turn. A reload hands over a new [`Shared`]; exchanges under
//! way keep the one they began with, because a match belongs to the application that made it.

use super::exchange::Shared;
use crate::app::App;
use crate::limits::{Limits, RELOAD_WAIT_MS};
use crate::sys::Wake;
use crate::sys::epoll::EventFd;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Serve.
pub(super) const RUN: u8 = 0;
/// Finish what runs, then end.
pub(super) const DRAIN: u8 = 1;
/// End at once.
pub(super) const HALT: u8 = 2;

/// The orders in force, shared by all workers.
pub(super) struct Orders {
    order: AtomicU8,
    /// Goes up with each reload; a worker that sees another number than its own takes `next`.
    version: AtomicU32,
    next: Mutex<Next>,
    taken: Condvar,
}

struct Next {
    shared: Arc<Shared>,
    /// Workers that have not taken it yet.
    awaited: usize,
}

impl Orders {
    pub(super) fn new(shared: Arc<Shared>) -> Orders {
        Orders {
            order: AtomicU8::new(RUN),
            version: AtomicU32::new(0),
            next: Mutex::new(Next { shared, awaited: 0 }),
            taken: Condvar::new(),
        }
    }

    /// [`RUN`], [`DRAIN`] or [`HALT`].
    #[inline]
    pub(super) fn order(&self) -> u8 {
        self.order.load(Ordering::Acquire)
    }

    /// The number of the application in force.
    #[inline]
    pub(super) fn version(&self) -> u32 {
        self.version.load(Ordering::Acquire)
    }

    /// What a worker begins with.
    pub(super) fn first(&self) -> Arc<Shared> {
        Arc::clone(&self.lock().shared)
    }

    /// What a worker goes on with, and its number.
    pub(super) fn take(&self) -> (Arc<Shared>, u32) {
        let mut next = self.lock();
        next.awaited = next.awaited.saturating_sub(1);
        if next.awaited == 0 {
            self.taken.notify_all();
        }
        // Under the lock, so that number and application belong together.
        (Arc::clone(&next.shared), self.version())
    }

    pub(super) fn drain(&self) {
        // An order to halt is not taken back.
        let _ = self
            .order
            .compare_exchange(RUN, DRAIN, Ordering::AcqRel, Ordering::Acquire);
    }

    pub(super) fn halt(&self) {
        self.order.store(HALT, Ordering::Release);
    }

    /// Puts another application in force for `workers` workers.
    pub(super) fn replace(&self, mut app: App, limits: Limits, workers: usize) {
        app.set_limits(&limits);
        let mut next = self.lock();
        next.shared = Arc::new(next.shared.with_app(app, limits));
        next.awaited = workers;
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// Waits until every worker has taken over what was put in force last; false after
    /// [`RELOAD_WAIT_MS`].
    fn wait_taken(&self) -> bool {
        let deadline = Instant::now() + Duration::from_millis(RELOAD_WAIT_MS);
        let mut next = self.lock();
        while next.awaited > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            next = match self.taken.wait_timeout(next, left) {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Next> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops a server from any thread, or has it go on with another application.
#[derive(Clone)]
pub struct Stopper {
    orders: Arc<Orders>,
    wakers: Arc<[EventFd]>,
}

impl fmt::Debug for Stopper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopper")
            .field("order", &self.orders.order())
            .field("workers", &self.wakers.len())
            .finish_non_exhaustive()
    }
}

impl Stopper {
    pub(super) fn new(orders: Arc<Orders>, wakers: Arc<[EventFd]>) -> Stopper {
        Stopper { orders, wakers }
    }

    /// Takes no new connection, closes idle ones, finishes what runs with `Connection: close`,
    /// and ends when that is done or `drain_timeout_ms` have passed.
    pub fn drain(&self) {
        self.orders.drain();
        self.wake();
    }

    /// Closes everything at once.
    pub fn halt(&self) {
        self.orders.halt();
        self.wake();
    }

    /// Serves with another application and other limits from the next request on. No connection
    /// is touched; an exchange under way ends with the application that it began with, and a
    /// deadline that is set already stays. What exists once keeps its size: the number of
    /// workers, `backlog`, `pool_threads_max` and `pool_queue_max`.
    ///
    /// Waits until every worker has taken it over, at most [`RELOAD_WAIT_MS`]; false when one
    /// has not by then, because a handler holds it: it will as soon as it can.
    pub fn reload(&self, app: App, limits: Limits) -> bool {
        self.orders.replace(app, limits, self.wakers.len());
        self.wake();
        self.orders.wait_taken()
    }

    fn wake(&self) {
        self.wakers.iter().for_each(Wake::wake);
    }
}
