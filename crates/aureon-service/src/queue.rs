//! A bounded queue between threads: orders to the supervisor, answers to whoever gave them.
//!
//! A sender waits for room, a receiver for an item or its deadline. When either side is gone the
//! other one is told. What std has for it serves three kinds of channel and many receivers.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

struct Shared<T> {
    inner: Mutex<Inner<T>>,
    changed: Condvar,
    items_max: usize,
}

struct Inner<T> {
    items: VecDeque<T>,
    senders: usize,
    receiver_lives: bool,
}

impl<T> Shared<T> {
    // Nothing panics while the lock is held.
    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, guard: MutexGuard<'a, Inner<T>>) -> MutexGuard<'a, Inner<T>> {
        self.changed
            .wait(guard)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts items in. Clones put into the same queue.
pub struct Sender<T>(Arc<Shared<T>>);

/// Takes items out, in their order.
pub struct Receiver<T>(Arc<Shared<T>>);

/// A queue of at most so many items.
pub fn queue<T>(items_max: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        inner: Mutex::new(Inner {
            items: VecDeque::new(),
            senders: 1,
            receiver_lives: true,
        }),
        changed: Condvar::new(),
        items_max,
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl<T> Sender<T> {
    /// Puts an item in, and waits for room if there is none; false when nobody will take it.
    pub fn send(&self, item: T) -> bool {
        let mut inner = self.0.lock();
        while inner.receiver_lives && inner.items.len() >= self.0.items_max {
            inner = self.0.wait(inner);
        }
        if inner.receiver_lives {
            inner.items.push_back(item);
            self.0.changed.notify_all();
        }
        inner.receiver_lives
    }
}

impl<T> Receiver<T> {
    /// The next item. `None` when none came `until` then, or none can come any more.
    pub fn receive(&self, until: Option<Instant>) -> Option<T> {
        let mut inner = self.0.lock();
        loop {
            if let Some(item) = inner.items.pop_front() {
                self.0.changed.notify_all();
                return Some(item);
            }
            if inner.senders == 0 {
                return None;
            }
            let Some(until) = until else {
                inner = self.0.wait(inner);
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            inner = match self.0.changed.wait_timeout(inner, left) {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.0.lock().senders += 1;
        Sender(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lock().senders -= 1;
        self.0.changed.notify_all();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.receiver_lives = false;
        let left = std::mem::take(&mut inner.items);
        drop(inner);
        self.0.changed.notify_all();
        // Outside of the lock: an item may hold a sender of this very queue.
        drop(left);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn items_of_many_senders_come_out_once_and_each_senders_in_order() {
        let (sender, receiver) = queue(3);
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let sender = sender.clone();
                thread::spawn(move || {
                    for item in 0..500 {
                        assert!(sender.send((thread, item)));
                    }
                })
            })
            .collect();
        drop(sender);
        let mut next = [0; 4];
        while let Some((thread, item)) = receiver.receive(None) {
            assert_eq!(item, next[thread]);
            next[thread] += 1;
        }
        assert_eq!(next, [500; 4]);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn a_full_queue_keeps_the_sender_waiting_until_there_is_room() {
        let (sender, receiver) = queue(1);
        assert!(sender.send(1));
        let waiting = thread::spawn(move || sender.send(2));
        assert_eq!(receiver.receive(None), Some(1));
        assert_eq!(receiver.receive(None), Some(2));
        assert!(waiting.join().unwrap());
    }

    #[test]
    fn a_deadline_that_has_passed_gives_nothing_but_what_is_there() {
        let (sender, receiver) = queue(2);
        let now = Instant::now();
        assert_eq!(receiver.receive(Some(now)), None::<u8>);
        assert_eq!(receiver.receive(Some(now + Duration::from_millis(1))), None);
        sender.send(7);
        assert_eq!(receiver.receive(Some(now)), Some(7));
    }

    #[test]
    fn whoever_waits_is_told_that_the_other_side_is_gone() {
        let (sender, receiver) = queue::<u8>(1);
        sender.send(1);
        let waiting = thread::spawn(move || sender.send(2));
        drop(receiver);
        assert!(!waiting.join().unwrap());

        let (sender, receiver) = queue::<u8>(1);
        let waiting = thread::spawn(move || receiver.receive(None));
        drop(sender);
        assert_eq!(waiting.join().unwrap(), None);
    }
}
