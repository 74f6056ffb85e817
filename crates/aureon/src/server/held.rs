//! Answers that wait for each other, to be sent one after the other.
//!
//! Sending is the longest way through the kernel that a request has, and it drives what parses and
//! answers out of the processor's nearest cache: where sixteen are answered before the first is
//! sent, each costs a twentieth less (`bench/run`), and what a log costs is a third less
//! (`bench/cost`). Nobody waits for more than that saves: whatever else is done, a slice of a file
//! sent or a connection accepted, is done after they are sent, and an answer that took long is sent
//! at once, with those that it kept waiting.
//!
//! A held answer is its connection's output, as if the kernel had no room for it, and what that
//! means for everything else is settled already. Answers after which the connection closes are not
//! held, so that it needs no registration. Called by `worker`; precedents: Redis, which answers all
//! that are ready before it writes, and Netty's `FlushConsolidationHandler`.

use crate::limits::{BATCH, HELD_US_MAX};
use crate::sys::SocketId;

/// Connections whose answers are held.
#[derive(Debug, Default)]
pub(super) struct Held {
    ids: Vec<SocketId>,
    /// Since when answers are made for this batch.
    since_us: u64,
}

impl Held {
    /// Begins a batch.
    #[inline]
    pub(super) fn begin(&mut self, now_us: u64) {
        self.ids.clear();
        self.since_us = now_us;
    }

    /// Adds one as the last.
    #[inline]
    pub(super) fn push(&mut self, id: SocketId) {
        self.ids.push(id);
    }

    /// Whether it is time to send.
    #[inline]
    pub(super) fn is_due(&self, now_us: u64) -> bool {
        self.ids.len() >= BATCH || now_us.saturating_sub(self.since_us) >= HELD_US_MAX
    }

    /// Whether none is held.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// One of those that are held, in their order.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<SocketId> {
        self.ids.get(at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_sent_when_it_is_full_or_has_taken_long() {
        let mut held = Held::default();
        held.begin(5);
        let full: Vec<bool> = (0..BATCH as u32)
            .map(|id| {
                held.push(SocketId(id));
                held.is_due(5)
            })
            .collect();
        assert_eq!(full.iter().position(|now| *now), Some(BATCH - 1));
        assert_eq!(held.get(BATCH - 1), Some(SocketId(BATCH as u32 - 1)));
        assert_eq!(held.get(BATCH), None);
        held.begin(1_000);
        assert_eq!(held.get(0), None);
        held.push(SocketId(1));
        assert!(!held.is_due(1_000 + HELD_US_MAX - 1));
        assert!(held.is_due(1_000 + HELD_US_MAX));
        assert_eq!(held.get(0), Some(SocketId(1)));
    }
}
