//! How many sockets and files a process may have open: Windows bounds them by memory alone.
//!
//! There is no soft limit to raise and none to come near to; what there is, is said by the call
//! that fails. The counterpart of the POSIX file of this name, for the daemon that calls it.

use std::io;

/// Descriptors that may be open: nobody knows.
pub fn max() -> u64 {
    u64::MAX
}

/// Likewise.
pub fn hard_max() -> u64 {
    u64::MAX
}

/// Raises the soft limit to the hard one, where there are such.
///
/// # Errors
///
/// None here.
pub fn raise() -> io::Result<()> {
    Ok(())
}
