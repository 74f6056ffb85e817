//! A bounded pool of threads for handlers and streams that may block.
//!
//! Threads are started on demand up to `pool_threads_max` and end after a while without work.
//! The queue is bounded: [`Pool::run`] gives the job back when it is full, and the worker
//! answers 503. A job that panics costs its thread nothing: handlers are caught further in, and
//! what is not is caught here.

use crate::metrics::Pool as Snapshot;
use crate::sys::thread;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a thread waits for the next job before it ends. 10 s: bursts keep their threads.
const IDLE: Duration = Duration::from_secs(10);

/// Bytes of stack of a pool thread. 512 KiB of address space; pages come with use.
const STACK_BYTES: usize = 512 * 1024;

/// Something to run on the pool.
pub(super) type Job = Box<dyn FnOnce() + Send + 'static>;

/// The pool. Clones are handles to the same one.
#[derive(Clone)]
pub(super) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    threads_max: usize,
    queue_max: usize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
    refused: u64,
}

impl Pool {
    pub(super) fn new(threads_max: usize, queue_max: usize) -> Pool {
        Pool {
            shared: Arc::new(Shared {
                state: Mutex::new(State::default()),
                work: Condvar::new(),
                threads_max: threads_max.max(1),
                queue_max,
            }),
        }
    }

    /// What it is doing now.
    pub(super) fn snapshot(&self) -> Snapshot {
        let state = self.shared.lock();
        Snapshot {
            threads: state.threads,
            threads_idle: state.idle,
            queued: state.queue.len(),
            refused: state.refused,
        }
    }

    /// Runs `job` on a thread of the pool, or gives it back when the queue is full.
    pub(super) fn run(&self, job: Job) -> Result<(), Job> {
        let mut state = self.shared.lock();
        let waits = state.queue.len() >= state.idle;
        if waits && state.threads < self.shared.threads_max {
            state.threads += 1;
            let shared = Arc::clone(&self.shared);
            let body = move || {
                shared.work_on();
                Ok(())
            };
            if thread::start("aureon-pool", STACK_BYTES, Box::new(body)).is_err() {
                // No thread to be had: with others alive the job may wait for one of them.
                state.threads -= 1;
                if state.threads == 0 {
                    state.refused += 1;
                    return Err(job);
                }
            }
        } else if waits && state.queue.len() >= self.shared.queue_max + state.idle {
            state.refused += 1;
            return Err(job);
        }
        state.queue.push_back(job);
        drop(state);
        self.shared.work.notify_one();
        Ok(())
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No job runs under the lock, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work_on(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                // A job owns all that it touches; nothing half-changed is seen by others.
                let _ = catch_unwind(AssertUnwindSafe(job));
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let (next, wait) = self
                .work
                .wait_timeout(state, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            state = next;
            state.idle -= 1;
            if wait.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_full_queue_gives_the_job_back() {
        let pool = Pool::new(1, 2);
        let (release, held) = channel::<()>();
        let (started, running) = channel();
        let block = Box::new(move || {
            started.send(()).unwrap();
            held.recv().unwrap();
        });
        assert!(pool.run(block).is_ok());
        running.recv().unwrap();
        let (done, finished) = channel();
        for _ in 0..2 {
            let done = done.clone();
            assert!(pool.run(Box::new(move || done.send(()).unwrap())).is_ok());
        }
        assert!(pool.run(Box::new(|| {})).is_err());
        release.send(()).unwrap();
        finished.recv().unwrap();
        finished.recv().unwrap();
    }

    #[test]
    fn a_panicking_job_does_not_end_the_pool() {
        let pool = Pool::new(1, 8);
        let (done, finished) = channel();
        assert!(pool.run(Box::new(|| panic!("meant to"))).is_ok());
        assert!(pool.run(Box::new(move || done.send(()).unwrap())).is_ok());
        finished.recv().unwrap();
    }
}
