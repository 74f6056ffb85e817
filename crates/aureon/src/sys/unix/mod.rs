//! POSIX systems: sockets, descriptors, files beneath a root, signals, processes, the service manager.

pub mod descriptors;
pub mod dir;
pub mod notify;
pub mod process;
pub mod signal;
pub mod socket;
