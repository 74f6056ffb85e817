//! POSIX systems: sockets, descriptors, output, files beneath a root, signals, processes, service
//! managers. One file each; nothing here is about one kernel alone.

mod closing;
pub mod descriptors;
pub mod dir;
pub mod notify;
pub mod output;
pub mod process;
pub(in crate::sys) mod readiness;
pub mod services;
pub mod signal;
pub mod socket;
