//! Who goes when a worker can hold no more: the connection that has kept it waiting longest.
//!
//! Waiting for somebody to leave would let an attacker who opens connections and says nothing
//! keep everybody else out for as long as he likes. So idle connections go first, the longest
//! idle before all others; then those that have come just now and said nothing yet; then those
//! that are in the middle of something that does not move. One whose handler is at work, or that
//! moves, never goes. Called by the worker, a few at a time.

use super::connection::{Connection, Connections, Phase};
use crate::limits::{Limits, ROOM_IDLE_MS, ROOM_NEW_MS, ROOM_PER_TURN, ROOM_SHARE, ROOM_SLOW_MS};
use crate::sys::SocketId;

/// What keeps us waiting, in the order in which it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wait {
    Idle,
    /// For a first request, and not for long.
    New,
    Busy,
}

/// With the time since which it does.
type Rank = (Wait, u64);

/// Who is to go.
pub(super) struct Choice {
    pub(super) ids: Vec<SocketId>,
    /// When the first of the others may go, as far as that is known.
    pub(super) next_ms: Option<u64>,
}

/// At least so many that are to go, as far as there are any, longest waited for first. O(n), for
/// many at once: each that is accepted when the server is full costs a look at 16 to 256 others.
pub(super) fn choose(
    connections: &Connections,
    limits: &Limits,
    now_ms: u64,
    least: usize,
) -> Choice {
    // Of few a few, so that nobody has to go who would be back at once.
    let count = (connections.len() / ROOM_SHARE)
        .max(least)
        .min(ROOM_PER_TURN);
    let mut chosen: Vec<(Rank, SocketId)> = Vec::with_capacity(count);
    let mut next_ms: Option<u64> = None;
    for (id, connection) in connections.iter() {
        let Some((busy, since_ms)) = since(connection, limits, now_ms) else {
            continue;
        };
        let silent = connection.session.requests() == 0;
        let (wait, patience_ms) = match busy {
            true => (Wait::Busy, ROOM_SLOW_MS),
            false if silent && now_ms < since_ms.saturating_add(ROOM_IDLE_MS) => {
                (Wait::New, ROOM_NEW_MS)
            }
            false => (Wait::Idle, ROOM_IDLE_MS),
        };
        let from_ms = since_ms.saturating_add(patience_ms);
        if now_ms < from_ms {
            next_ms = Some(next_ms.map_or(from_ms, |at| at.min(from_ms)));
            continue;
        }
        let rank = (wait, since_ms);
        if chosen.len() == count {
            if chosen.last().is_some_and(|last| last.0 <= rank) {
                continue;
            }
            chosen.pop();
        }
        let at = chosen.partition_point(|other| other.0 <= rank);
        chosen.insert(at, (rank, id));
    }
    Choice {
        ids: chosen.into_iter().map(|(_, id)| id).collect(),
        next_ms,
    }
}

/// Whether it is in the middle of something, and since when it keeps us waiting, if it does.
fn since(connection: &Connection, limits: &Limits, now_ms: u64) -> Option<(bool, u64)> {
    let started = |timeout_ms: u32| connection.deadline_ms.saturating_sub(u64::from(timeout_ms));
    let silent = connection.session.is_idle() && connection.output.is_empty();
    Some(match connection.phase {
        Phase::Head if silent => (false, connection.since_ms),
        Phase::Proxy if connection.input.is_empty() => (false, connection.since_ms),
        // Its answer is out.
        Phase::Linger => (false, connection.since_ms),
        Phase::Head if connection.output.is_empty() => (true, started(limits.head_timeout_ms)),
        Phase::Head | Phase::Proxy => (true, connection.since_ms),
        Phase::Body | Phase::Discard => (true, slow_since(connection, limits, now_ms)?),
        // An upload that our own handler holds up is not the peer's fault.
        Phase::Upload if !connection.paused => (true, slow_since(connection, limits, now_ms)?),
        // The deadline moves when the peer takes something. That of a stream whose producer has
        // nothing lies at the end of time.
        Phase::Sending | Phase::Closing => (true, started(limits.write_timeout_ms)),
        Phase::Upload | Phase::Waiting | Phase::Free => return None,
    })
}

/// Since when a body has been coming, if it comes slower than bodies must: the time that
/// `body_timeout_ms` gives it is for when there is room.
fn slow_since(connection: &Connection, limits: &Limits, now_ms: u64) -> Option<u64> {
    let elapsed_ms = now_ms.saturating_sub(connection.since_ms);
    let needed = elapsed_ms * u64::from(limits.body_rate_min) / 1_000;
    (connection.phase_bytes < needed).then_some(connection.since_ms)
}
