//! What the workers of a running server are told from outside: to pause, to stop, or to go on
//! with another application.
//!
//! A worker looks at two atomics a turn. A reload hands over a new [`Shared`]; exchanges under
//! way keep the one they began with, because a match belongs to the application that made it.

use super::exchange::Shared;
use crate::app::App;
use crate::limits::{Limits, RELOAD_WAIT_MS};
use crate::sys::socket::{self, Inheritable, Listener};
use crate::sys::{SystemWaker, Wake};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Serve.
pub(super) const RUN: u8 = 0;
/// Serve what is open and accept nothing.
pub(super) const PAUSE: u8 = 1;
/// Finish what runs and what the kernel has accepted already, then end.
pub(super) const DRAIN: u8 = 2;
/// Finish what runs, then end: somebody else accepts from the same sockets.
pub(super) const HAND_OVER: u8 = 3;
/// End at once.
pub(super) const HALT: u8 = 4;

/// A worker's turns, on a cache line of their own: each is written once a turn.
#[repr(align(64))]
#[derive(Default)]
struct Turns(AtomicU64);

/// The orders in force, shared by all workers.
pub(super) struct Orders {
    order: AtomicU8,
    /// Goes up with each reload; a worker that sees another number than its own takes `next`.
    version: AtomicU32,
    next: Mutex<Next>,
    taken: Condvar,
    turns: Box<[Turns]>,
    kept: Mutex<Kept>,
}

/// What exists once for all workers and goes at the end.
#[derive(Default)]
struct Kept {
    /// Copies of all listeners, to hand over.
    listeners: Vec<Listener>,
    /// Paths of Unix sockets, removed at the end.
    unix_paths: Vec<PathBuf>,
}

struct Next {
    shared: Arc<Shared>,
    /// Workers that have not taken it yet.
    awaited: usize,
}

impl Orders {
    pub(super) fn new(shared: Arc<Shared>, workers: usize) -> Orders {
        Orders {
            order: AtomicU8::new(RUN),
            version: AtomicU32::new(0),
            next: Mutex::new(Next { shared, awaited: 0 }),
            taken: Condvar::new(),
            turns: (0..workers).map(|_| Turns::default()).collect(),
            kept: Mutex::default(),
        }
    }

    /// Keeps copies of the listeners, and what is to be removed at the end.
    pub(super) fn keep(&self, listeners: Vec<Listener>, unix_paths: Vec<PathBuf>) {
        *self.kept() = Kept {
            listeners,
            unix_paths,
        };
    }

    /// Removes the paths of Unix sockets that nobody took over.
    pub(super) fn remove_unix_paths(&self) {
        for path in std::mem::take(&mut self.kept().unix_paths) {
            // Somebody may have replaced it; then there is nothing of ours to remove.
            let _ = std::fs::remove_file(path);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker has turned once more.
    #[inline]
    pub(super) fn count_turn(&self, worker: usize) {
        if let Some(turns) = self.turns.get(worker) {
            // One writer, so that no read-modify-write is needed.
            let count = turns.0.load(Ordering::Relaxed) + 1;
            turns.0.store(count, Ordering::Relaxed);
        }
    }

    /// [`RUN`] to [`HALT`].
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

    /// Changes the order unless a stronger one is in force: the way is from pause to halt, and
    /// only a pause is taken back.
    pub(super) fn give(&self, order: u8) {
        let stronger = |now: u8| (now < order || (now == PAUSE && order == RUN)).then_some(order);
        // Refused means that a stronger order is in force already.
        let _ = self
            .order
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, stronger);
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

/// Pauses or stops a server from any thread, hands its listeners over, or has it go on with
/// another application.
#[derive(Clone)]
pub struct Stopper {
    orders: Arc<Orders>,
    wakers: Arc<[SystemWaker]>,
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
    pub(super) fn new(orders: Arc<Orders>, wakers: Arc<[SystemWaker]>) -> Stopper {
        Stopper { orders, wakers }
    }

    /// Takes no new connection, closes idle ones, finishes what runs with `Connection: close`,
    /// and ends when that is done or `drain_timeout_ms` have passed.
    pub fn drain(&self) {
        // A copy would keep the socket open: clients would queue where nobody accepts.
        self.orders.kept().listeners.clear();
        self.give(DRAIN);
    }

    /// Closes everything at once.
    pub fn halt(&self) {
        self.orders.kept().listeners.clear();
        self.give(HALT);
    }

    /// Accepts nothing more until [`Stopper::resume`]; what is open is served.
    pub fn pause(&self) {
        self.give(PAUSE);
    }

    /// Accepts again after a pause.
    pub fn resume(&self) {
        self.give(RUN);
    }

    /// Copies of the listeners of all workers that a child process inherits: they do not close
    /// on exec. Another process that accepts from all of them loses no connection, not even one
    /// that still waits in a queue of the kernel.
    ///
    /// # Errors
    ///
    /// There is no descriptor left, or this system hands none to a child.
    pub fn listeners_to_inherit(&self) -> io::Result<Vec<Inheritable>> {
        let kept = self.orders.kept();
        kept.listeners.iter().map(socket::inheritable).collect()
    }

    /// Drains as one whose sockets live on in another process: accepts nothing more at once and
    /// leaves the paths of Unix sockets where they are.
    pub fn hand_over(&self) {
        let mut kept = self.orders.kept();
        kept.listeners.clear();
        kept.unix_paths.clear();
        drop(kept);
        self.give(HAND_OVER);
    }

    /// How often each worker has turned so far. One whose number stays the same although
    /// [`Stopper::wake`] was called is held by a handler.
    pub fn turns(&self) -> Vec<u64> {
        let turns = self.orders.turns.iter();
        turns.map(|turns| turns.0.load(Ordering::Relaxed)).collect()
    }

    fn give(&self, order: u8) {
        self.orders.give(order);
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

    /// Has every worker turn at once, whether there is work or not.
    pub fn wake(&self) {
        self.wakers.iter().for_each(Wake::wake);
    }
}
