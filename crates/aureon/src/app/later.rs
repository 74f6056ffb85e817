//! Answers that are given later, from any thread.
//!
//! A handler returns the [`Response`] of [`Response::later`] at once and keeps the
//! [`Responder`]; the server finds the [`LaterSlot`] in the body, binds its mailbox to it and
//! takes the answer when it comes. A responder dropped unsent answers 500, so no exchange waits
//! for nobody.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Fault, Notify, Response};
use crate::http::Status;

#[derive(Default)]
struct Slot {
    answer: Option<Response>,
    notify: Option<(Arc<dyn Notify>, u64)>,
    slot_gone: bool,
}

type Shared = Arc<Mutex<Slot>>;

fn lock(shared: &Shared) -> MutexGuard<'_, Slot> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The half that answers.
pub struct Responder {
    shared: Option<Shared>,
}

impl Responder {
    /// Answers. When the peer is gone the response is dropped.
    pub fn send(mut self, response: Response) {
        if let Some(shared) = self.shared.take() {
            complete(&shared, response);
        }
    }

    /// Whether nobody waits any more, for work that would be in vain.
    pub fn is_abandoned(&self) -> bool {
        self.shared
            .as_ref()
            .is_none_or(|shared| lock(shared).slot_gone)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            let mut response = Response::from(Status::INTERNAL_SERVER_ERROR);
            response.set_fault(Fault::error("the late answer was dropped unsent"));
            complete(&shared, response);
        }
    }
}

fn complete(shared: &Shared, response: Response) {
    let mut slot = lock(shared);
    if slot.slot_gone {
        return;
    }
    slot.answer = Some(response);
    let notify = slot.notify.take();
    drop(slot);
    if let Some((notify, key)) = notify {
        notify.notify(key);
    }
}

/// The half that waits, inside [`Body::Later`](super::Body::Later).
pub struct LaterSlot {
    shared: Shared,
}

impl LaterSlot {
    /// Asks to be told when the answer is there; at once when it is there already.
    pub fn bind(&mut self, notify: Arc<dyn Notify>, key: u64) {
        let mut slot = lock(&self.shared);
        if slot.answer.is_some() {
            drop(slot);
            notify.notify(key);
        } else {
            slot.notify = Some((notify, key));
        }
    }

    /// The answer, once.
    pub fn take(&mut self) -> Option<Response> {
        lock(&self.shared).answer.take()
    }
}

impl Drop for LaterSlot {
    fn drop(&mut self) {
        let mut slot = lock(&self.shared);
        slot.slot_gone = true;
        let unsent = slot.answer.take();
        drop(slot);
        // Dropped outside the lock: its body may be another late answer.
        drop(unsent);
    }
}

/// Both halves of a new late answer.
pub(super) fn later() -> (Responder, LaterSlot) {
    let shared = Shared::default();
    (
        Responder {
            shared: Some(Arc::clone(&shared)),
        },
        LaterSlot { shared },
    )
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Responder")
    }
}

impl std::fmt::Debug for LaterSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LaterSlot")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Default)]
    struct Last(AtomicU64);

    impl Notify for Last {
        fn notify(&self, key: u64) {
            self.0.store(key, Ordering::SeqCst);
        }
    }

    #[test]
    fn an_answer_before_the_binding_is_announced_by_the_binding() {
        let (responder, mut slot) = later();
        responder.send(Response::text("early"));
        let last = Arc::new(Last::default());
        slot.bind(Arc::clone(&last) as Arc<dyn Notify>, 5);
        assert_eq!(last.0.load(Ordering::SeqCst), 5);
        assert!(slot.take().is_some());
        assert!(slot.take().is_none());
    }

    #[test]
    fn an_answer_after_the_binding_is_announced_from_its_thread() {
        let (responder, mut slot) = later();
        let last = Arc::new(Last::default());
        slot.bind(Arc::clone(&last) as Arc<dyn Notify>, 6);
        assert!(slot.take().is_none());
        std::thread::spawn(move || responder.send(Response::text("late")))
            .join()
            .unwrap();
        assert_eq!(last.0.load(Ordering::SeqCst), 6);
        assert_eq!(slot.take().unwrap().status(), Status::OK);
    }

    #[test]
    fn a_responder_dropped_unsent_answers_500_with_a_fault() {
        let (responder, mut slot) = later();
        drop(responder);
        let response = slot.take().unwrap();
        assert_eq!(response.status(), Status::INTERNAL_SERVER_ERROR);
        assert!(response.fault().is_some());
    }

    #[test]
    fn a_responder_knows_when_nobody_waits() {
        let (responder, slot) = later();
        assert!(!responder.is_abandoned());
        drop(slot);
        assert!(responder.is_abandoned());
        responder.send(Response::text("to nobody"));
    }
}
