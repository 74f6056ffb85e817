//! How other threads reach a worker: a list under a lock, and the driver's waker.
//!
//! Letters carry the key of the connection they are for; a key holds the connection's
//! generation, so a letter for one that is gone is thrown away. At most one answer is under way
//! for each connection, and notifications are folded, so the list is bounded by the connections.

use super::exchange::Shared;
use crate::app::{Match, Notify, RequestOwned, Response};
use crate::sys::Wake;
use std::sync::{Arc, Mutex, PoisonError};

/// What a letter says.
pub(super) enum Letter {
    /// A handler on the pool has answered.
    Answer {
        key: u64,
        /// What `matched` belongs to.
        shared: Arc<Shared>,
        request: Box<RequestOwned>,
        matched: Match,
        response: Box<Response>,
    },
    /// A pipe or a late answer has something.
    Notice { key: u64 },
}

/// The letters of one worker.
pub(super) struct Mailbox<W: Wake> {
    letters: Mutex<Vec<Letter>>,
    waker: W,
}

impl<W: Wake> Mailbox<W> {
    pub(super) fn new(waker: W) -> Mailbox<W> {
        Mailbox {
            letters: Mutex::new(Vec::new()),
            waker,
        }
    }

    /// Puts a letter in and wakes the worker if it was empty.
    pub(super) fn post(&self, letter: Letter) {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Letter::Notice { key } = letter {
            let known =
                |old: &Letter| matches!(old, Letter::Notice { key: other } if *other == key);
            // Only the youngest is looked at: a busy pipe repeats itself, and a missed fold costs
            // one letter.
            if letters.last().is_some_and(known) {
                return;
            }
        }
        letters.push(letter);
        let first = letters.len() == 1;
        drop(letters);
        if first {
            self.waker.wake();
        }
    }

    /// Swaps all letters out for an empty vector, whose room is used again.
    pub(super) fn take(&self, into: &mut Vec<Letter>) {
        into.clear();
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *letters, into);
    }
}

impl<W: Wake> Notify for Mailbox<W> {
    fn notify(&self, key: u64) {
        self.post(Letter::Notice { key });
    }
}
