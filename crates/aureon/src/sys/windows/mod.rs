//! Windows: sockets by completions, files beneath a root, console events.
//!
//! `port` and `operation` hold what the rest stands on: a completion port, and operations whose
//! memory is the kernel's until their completion has come out of one. `accepting` shares a
//! listener among workers. `services` is the manager of services. What Windows has not (descriptors
//! that a child inherits) says so by `Unsupported`.

mod accepting;
pub mod descriptors;
pub mod dir;
mod iocp;
pub mod notify;
mod operation;
pub mod output;
mod port;
pub mod process;
pub mod services;
pub mod signal;
mod slot;
pub mod socket;

pub use iocp::Iocp;
pub use port::PortWaker;
