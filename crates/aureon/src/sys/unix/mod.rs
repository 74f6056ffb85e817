//! POSIX systems: sockets, descriptors, files beneath a root, signals, processes, the service
//! manager. One file each; nothing here is about one kernel alone.

pub mod descriptors;
pub mod dir;
pub mod notify;
pub mod process;
pub mod signal;
pub mod socket;
