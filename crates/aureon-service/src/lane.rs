//! The way of bytes from one worker to the writing thread, on which neither waits for the other.
//!
//! A lane has two slots, each a vector in a mutex that is only ever tried by the writer. The
//! worker appends to the slot in use. Should the writer be emptying just that one, which takes it
//! an exchange of two vectors, the worker goes over to the other: the writer is in one slot at a
//! time, so that one is free. So the worker never waits, and pays two atomic exchanges a batch.
//!
//! The order stays: the worker leaves a slot only while the writer is emptying it, so at any
//! moment the slot that is not in use is empty or is being emptied, and its bytes are the older
//! ones. `put` is for one thread, `take` for another.

use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// Bytes waiting in one lane. 1 MiB: some 4,000 lines, a tenth of a second of a worker at its
/// limit, hours of one that is not.
pub const LANE_BYTES_MAX: usize = 1 << 20;

/// What became of bytes that were put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// They are there; the writer comes by when it was told of some before.
    Kept,
    /// They are in the other slot: the writer should be told, whether it was or not.
    Moved,
    /// They are there and the lane has just become half full.
    HalfFull,
    /// There is no room for them.
    Full,
}

/// What the writer found in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// All that was there, perhaps nothing.
    All,
    /// Nothing, because the worker is adding to it: look again later.
    Busy,
}

#[derive(Default)]
struct Slot(Mutex<Vec<u8>>);

/// A lane on cache lines of its own, so that two workers do not slow each other down.
#[repr(align(128))]
#[derive(Default)]
pub struct Lane {
    slots: [Slot; 2],
    /// The slot in use. Only the worker changes or reads it.
    current: AtomicUsize,
}

impl Slot {
    fn try_lock(&self) -> Option<MutexGuard<'_, Vec<u8>>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            // A panic in here leaves at worst half a line; the log goes on.
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl Lane {
    /// Slots, each of which the writer has to look at.
    pub const SLOTS: usize = 2;

    /// Adds bytes behind those that are there. For one thread.
    pub fn put(&self, bytes: &[u8]) -> Put {
        let current = self.current.load(Ordering::Relaxed) % Lane::SLOTS;
        match self.slots[current].try_lock() {
            Some(slot) => append(slot, bytes, false),
            None => {
                let other = 1 - current;
                self.current.store(other, Ordering::Relaxed);
                let slot = &self.slots[other].0;
                // Free, because the writer is in the one that could not be had.
                append(
                    slot.lock().unwrap_or_else(PoisonError::into_inner),
                    bytes,
                    true,
                )
            }
        }
    }

    /// Exchanges what a slot holds, if anything, for `empty`. For one thread, and not the one that
    /// puts.
    pub fn take(&self, slot: usize, empty: &mut Vec<u8>) -> Taken {
        debug_assert!(empty.is_empty());
        match self.slots[slot % Lane::SLOTS].try_lock() {
            Some(mut slot) => {
                // A slot that is not in use needs no room.
                if !slot.is_empty() {
                    mem::swap(&mut *slot, empty);
                }
                Taken::All
            }
            None => Taken::Busy,
        }
    }
}

fn append(mut slot: MutexGuard<'_, Vec<u8>>, bytes: &[u8], moved: bool) -> Put {
    let before = slot.len();
    let after = before + bytes.len();
    if after > LANE_BYTES_MAX {
        return Put::Full;
    }
    slot.extend_from_slice(bytes);
    if before < LANE_BYTES_MAX / 2 && after >= LANE_BYTES_MAX / 2 {
        return Put::HalfFull;
    }
    match moved {
        // The writer may have looked into this slot before it emptied the other one.
        true => Put::Moved,
        false => Put::Kept,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    fn take_all(lane: &Lane) -> Vec<u8> {
        let mut all = Vec::new();
        for slot in 0..Lane::SLOTS {
            let mut bytes = Vec::new();
            assert_eq!(lane.take(slot, &mut bytes), Taken::All);
            all.extend(bytes);
        }
        all
    }

    #[test]
    fn what_is_put_is_taken_once() {
        let lane = Lane::default();
        assert_eq!(lane.put(b"one "), Put::Kept);
        assert_eq!(lane.put(b"two"), Put::Kept);
        assert_eq!(take_all(&lane), b"one two");
        assert_eq!(take_all(&lane), b"");
    }

    #[test]
    fn a_lane_is_bounded_and_tells_when_it_is_half_full() {
        let lane = Lane::default();
        let quarter = vec![b'x'; LANE_BYTES_MAX / 4];
        let became: Vec<Put> = (0..5).map(|_| lane.put(&quarter)).collect();
        use Put::{Full, HalfFull, Kept};
        assert_eq!(became, [Kept, HalfFull, Kept, Kept, Full]);
        assert_eq!(lane.put(b"x"), Full);
        assert_eq!(take_all(&lane).len(), LANE_BYTES_MAX);
        assert_eq!(lane.put(b"x"), Kept);
    }

    #[test]
    fn a_worker_goes_over_to_the_other_slot_while_one_is_emptied() {
        let lane = Lane::default();
        assert_eq!(lane.put(b"1"), Put::Kept);
        // The writer stands in the middle of an exchange, in the one slot and in the other.
        let held = lane.slots[0].try_lock().unwrap();
        assert_eq!(lane.put(b"2"), Put::Moved);
        drop(held);
        assert_eq!(lane.put(b"3"), Put::Kept);
        assert_eq!(take_all(&lane), b"123");
        let held = lane.slots[1].try_lock().unwrap();
        assert_eq!(lane.put(b"4"), Put::Moved);
        let mut bytes = Vec::new();
        assert_eq!(lane.take(1, &mut bytes), Taken::Busy);
        drop(held);
        assert_eq!(take_all(&lane), b"4");
    }

    #[test]
    fn two_threads_lose_nothing_and_keep_the_order() {
        const NUMBERS: u32 = 300_000;
        let lane = Arc::new(Lane::default());
        let done = Arc::new(AtomicBool::new(false));
        let writer = thread::spawn({
            let (lane, done) = (Arc::clone(&lane), Arc::clone(&done));
            move || {
                let (mut all, mut spare) = (Vec::new(), Vec::new());
                loop {
                    let last = done.load(Ordering::Acquire);
                    for slot in 0..Lane::SLOTS {
                        lane.take(slot, &mut spare);
                        all.append(&mut spare);
                    }
                    if last {
                        return all;
                    }
                }
            }
        });
        let mut refused = 0;
        for number in 0..NUMBERS {
            while lane.put(&number.to_le_bytes()) == Put::Full {
                refused += 1;
                thread::yield_now();
            }
        }
        done.store(true, Ordering::Release);
        let all = writer.join().unwrap();
        let numbers = all.chunks_exact(4).map(|chunk| match chunk {
            &[a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
            _ => panic!(),
        });
        assert!(numbers.eq(0..NUMBERS), "refused {refused} times");
    }
}
