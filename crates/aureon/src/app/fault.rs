//! Why an answer is a 500, for the log and never for the client.
//!
//! A handler that errs or panics leaves a [`Fault`] on the response; the server's observer reads
//! it there, beside the route. The client is told the status and nothing more.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What went wrong in the user's part of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    message: String,
    panicked: bool,
}

impl Fault {
    /// A fault without a panic.
    pub fn error(message: impl Into<String>) -> Fault {
        Fault {
            message: message.into(),
            panicked: false,
        }
    }

    /// A caught panic.
    pub(super) fn panic(payload: Box<dyn Any + Send>) -> Fault {
        Fault {
            message: panic_message(payload),
            panicked: true,
        }
    }

    /// What happened, in words.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether a handler or a middleware panicked.
    pub fn is_panic(&self) -> bool {
        self.panicked
    }
}

/// The text of a panic's payload. `panic!` makes `&str` or `String`; anything else has no text.
pub(super) fn panic_message(payload: Box<dyn Any + Send>) -> String {
    let message = if let Some(text) = payload.downcast_ref::<&str>() {
        String::from(*text)
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        String::from("a panic without a message")
    };
    // The payload's own destructor may panic again. Unwind safe: nothing of it is looked at.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(panics: fn(), message: &str) {
        let payload = catch_unwind(panics).unwrap_err();
        let fault = Fault::panic(payload);
        assert!(fault.is_panic());
        assert_eq!(fault.message(), message);
    }

    #[test]
    fn a_panic_keeps_its_words() {
        check(|| panic!("plain"), "plain");
        check(|| panic!("with {}", 1), "with 1");
        check(|| std::panic::panic_any(7), "a panic without a message");
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_survived() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        check(|| std::panic::panic_any(Bomb), "a panic without a message");
    }
}
