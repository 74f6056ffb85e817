//! What a server tells about itself: one call for each exchange, refusal and trouble.
//!
//! The engine prints nothing and counts nothing for others; who embeds it implements
//! [`Observer`]. Calls come on the worker, between two requests, so they must be short: format
//! into a buffer of your own and let another thread write it.

use crate::app::{Fault, Peer, Request};
use crate::http::{Error, Status};
use crate::limits::Limit;
pub use crate::metrics::Ending;
use std::io;

/// One request and its answer.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a, 'r> {
    /// Which worker served it, from 0.
    pub worker: usize,
    /// The request; its body may be gone.
    pub request: &'a Request<'r>,
    /// The route's template, empty when none matched.
    pub route: &'a str,
    /// The answer's status.
    pub status: Status,
    /// Bytes of content handed to the kernel, without head and framing.
    pub bytes: u64,
    /// Microseconds from the request's last byte being read to the answer's last byte. A handler
    /// that reads its body while it arrives begins with the head's last byte.
    pub duration_us: u64,
    /// Microseconds before that, from the request's first byte; 0 when it came whole in one turn
    /// of the loop. Measured in turns: no clock is read for it.
    pub receive_us: u64,
    /// Those of `duration_us` after the head of the answer was written, in which its content was
    /// handed to the kernel; 0 for content that shares the head's buffer.
    pub send_us: u64,
    /// When it ended, in microseconds since 1970.
    pub ended_unix_us: u64,
    /// What went wrong in the handler, if anything did; never told to the client.
    pub fault: Option<&'a Fault>,
    /// How it ended.
    pub ending: Ending,
}

/// Who is told. Every method does nothing unless it is written.
pub trait Observer: Send + Sync + 'static {
    /// An exchange is over.
    fn on_exchange(&self, exchange: &Exchange<'_, '_>) {
        let _ = exchange;
    }

    /// A turn of a worker's loop is over, and with it all that it had to tell: the time to hand
    /// over what was gathered. Called for each turn, also one in which nothing was told.
    fn on_turn_end(&self, worker: usize) {
        let _ = worker;
    }

    /// A request broke the protocol or a limit and was refused.
    fn on_refusal(&self, worker: usize, peer: Peer, error: Error) {
        let _ = (worker, peer, error);
    }

    /// A connection was closed unread because a limit was reached, or the first of several were
    /// that kept us waiting when there was no room for others.
    fn on_limit(&self, worker: usize, peer: Peer, limit: Limit) {
        let _ = (worker, peer, limit);
    }

    /// The machine failed us; the server goes on. `what` names the operation.
    fn on_trouble(&self, worker: usize, what: &'static str, error: &io::Error) {
        let _ = (worker, what, error);
    }
}
