//! The protocol: bytes to events and back (RFC 9110, RFC 9112).
//!
//! Nothing here does IO, reads a clock, holds a socket or is `unsafe`: a caller brings the bytes
//! and takes the bytes. Any input gives events or an [`Error`], never a panic, and the same
//! events however the bytes were cut.
//!
//! In reading order: [`Method`], [`Status`] and [`Error`] are the words; `scan` classifies
//! bytes; `parse` reads a head once, left to right, resuming where it stopped; `fields` and
//! `framing` say what may stand in it and where a body ends; `chunked` reads the one coding we
//! know; [`Session`] is the state machine that decides what happens next on a connection;
//! `write` renders heads; `date` the clock's text form. `proxy` reads what a proxy of connections
//! writes before all of it.

mod chunked;
pub mod date;
mod error;
mod fields;
mod framing;
mod head;
mod method;
mod parse;
mod proxy;
pub mod scan;
mod session;
mod status;
pub mod write;

pub use error::Error;
pub use framing::Framing;
pub use head::{Fields, Head, HeadOwned, Version};
pub use method::Method;
pub use parse::{Scratch, parse_head};
pub use proxy::{LOCAL_PROXY_HEADER, ProxyHeader, parse_proxy_header};
pub use session::{BodyEvent, Delimiter, HeadEvent, Outcome, Reply, Session};
pub use status::Status;
