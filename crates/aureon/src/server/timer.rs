//! Deadlines of connections on a coarse wheel (Varghese and Lauck, 1987).
//!
//! A wheel of 512 ticks of 128 ms spans 65 s; what lies beyond waits in its last tick and is
//! looked at again. Moving a deadline *later* costs nothing: the entry stays where it is and is
//! moved when its tick comes. So a keep-alive connection writes one number a request, and the
//! wheel is touched once an idle time-out. O(1) everywhere but `next_ms`, which reads at most
//! nine words.

/// Ticks of the wheel; a power of two.
const TICKS: usize = 512;
/// A tick is 2^7 = 128 ms: deadlines are late by at most that, and time-outs are in seconds.
const TICK_SHIFT: u32 = 7;
/// No entry: the end of a list.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
    /// The tick in whose list the entry is, `NONE` when in none.
    tick: u32,
}

/// The wheel of one worker. Entries are the connections' slot numbers.
#[derive(Debug)]
pub(super) struct Wheel {
    heads: Vec<u32>,
    /// One bit for each tick whose list is not empty.
    occupied: [u64; TICKS / 64],
    links: Vec<Link>,
    /// The tick up to which everything has been looked at.
    current: u32,
}

impl Wheel {
    pub(super) fn new(now_ms: u64) -> Wheel {
        Wheel {
            heads: vec![NONE; TICKS],
            occupied: [0; TICKS / 64],
            links: Vec::new(),
            current: tick_of(now_ms),
        }
    }

    /// Sees to it that `entry` is looked at no later than a tick after `deadline_ms`.
    #[inline]
    pub(super) fn set(&mut self, entry: u32, deadline_ms: u64) {
        let index = entry as usize;
        if index >= self.links.len() {
            self.links.resize(
                index + 1,
                Link {
                    previous: NONE,
                    next: NONE,
                    tick: NONE,
                },
            );
        }
        // Rounded up: an entry is due when its whole tick has passed.
        let tick = tick_of(deadline_ms) + 1;
        let link = self.links[index];
        if link.tick != NONE {
            if link.tick <= tick {
                return;
            }
            self.unlink(entry);
        }
        self.link(
            entry,
            tick.clamp(self.current + 1, self.current + TICKS as u32 - 1),
        );
    }

    /// Forgets an entry.
    #[inline]
    pub(super) fn clear(&mut self, entry: u32) {
        if self
            .links
            .get(entry as usize)
            .is_some_and(|link| link.tick != NONE)
        {
            self.unlink(entry);
        }
    }

    /// Takes out one entry whose tick has come; the caller looks at its true deadline.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Option<u32> {
        let now = tick_of(now_ms);
        while self.current <= now {
            let head = self.heads[self.current as usize % TICKS];
            if head != NONE {
                self.unlink(head);
                return Some(head);
            }
            if self.current == now {
                return None;
            }
            // Nothing between here and the next occupied tick can be due.
            let step = self
                .next_occupied()
                .map_or(u32::MAX, |tick| tick - self.current);
            self.current += step.clamp(1, now - self.current);
        }
        None
    }

    /// Milliseconds until the next tick with an entry, `None` without any.
    pub(super) fn next_ms(&self, now_ms: u64) -> Option<u32> {
        let tick = self.next_occupied()?;
        let at = u64::from(tick) << TICK_SHIFT;
        Some(u32::try_from(at.saturating_sub(now_ms)).unwrap_or(u32::MAX))
    }

    /// The first tick from `current` on that has an entry.
    fn next_occupied(&self) -> Option<u32> {
        let start = self.current as usize % TICKS;
        for step in 0..=self.occupied.len() {
            let word = (start / 64 + step) % self.occupied.len();
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= u64::MAX << (start % 64);
            } else if step == self.occupied.len() {
                bits &= !(u64::MAX << (start % 64));
            }
            if bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                let ahead = (slot + TICKS - start) % TICKS;
                return Some(self.current + ahead as u32);
            }
        }
        None
    }

    fn link(&mut self, entry: u32, tick: u32) {
        let slot = tick as usize % TICKS;
        let next = self.heads[slot];
        self.links[entry as usize] = Link {
            previous: NONE,
            next,
            tick,
        };
        if next != NONE {
            self.links[next as usize].previous = entry;
        }
        self.heads[slot] = entry;
        self.occupied[slot / 64] |= 1 << (slot % 64);
    }

    fn unlink(&mut self, entry: u32) {
        let link = self.links[entry as usize];
        let slot = link.tick as usize % TICKS;
        match link.previous {
            NONE => self.heads[slot] = link.next,
            previous => self.links[previous as usize].next = link.next,
        }
        if link.next != NONE {
            self.links[link.next as usize].previous = link.previous;
        }
        if self.heads[slot] == NONE {
            self.occupied[slot / 64] &= !(1 << (slot % 64));
        }
        self.links[entry as usize].tick = NONE;
    }
}

/// The tick of a time. 2^32 ticks are 17 years of uptime.
fn tick_of(ms: u64) -> u32 {
    u32::try_from(ms >> TICK_SHIFT).unwrap_or(NONE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::sim::Random;

    #[test]
    fn every_deadline_is_seen_after_it_and_within_two_ticks() {
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let mut now = random.below(1_000_000) as u64;
            let mut wheel = Wheel::new(now);
            let mut deadlines: Vec<Option<u64>> = vec![None; 40];
            for _ in 0..3_000 {
                let entry = random.below(40);
                match random.below(4) {
                    0 => {
                        let deadline = now + random.below(200_000) as u64;
                        deadlines[entry] = Some(deadline);
                        wheel.set(entry as u32, deadline);
                    }
                    1 => {
                        deadlines[entry] = None;
                        wheel.clear(entry as u32);
                    }
                    _ => {
                        let wait = wheel.next_ms(now).unwrap_or(500).min(20_000);
                        now += u64::from(wait).min(random.below(30_000) as u64);
                    }
                }
                while let Some(due) = wheel.take_due(now) {
                    let deadline = deadlines[due as usize].expect("an entry that was cleared");
                    if deadline <= now {
                        deadlines[due as usize] = None;
                    } else {
                        wheel.set(due, deadline);
                    }
                }
                for deadline in deadlines.iter().flatten() {
                    assert!(
                        deadline + 256 > now,
                        "seed {seed}: {deadline} missed at {now}"
                    );
                }
            }
        }
    }

    #[test]
    fn an_empty_wheel_waits_for_nothing() {
        let mut wheel = Wheel::new(5_000);
        assert_eq!(wheel.next_ms(5_000), None);
        assert_eq!(wheel.take_due(u64::from(u32::MAX)), None);
    }

    #[test]
    fn a_later_deadline_leaves_the_entry_where_it_is() {
        let mut wheel = Wheel::new(0);
        wheel.set(3, 1_000);
        wheel.set(3, 60_000);
        assert!(wheel.next_ms(0).is_some_and(|ms| ms < 1_200));
        assert_eq!(wheel.take_due(1_200), Some(3));
        assert_eq!(wheel.next_ms(1_200), None);
    }
}
