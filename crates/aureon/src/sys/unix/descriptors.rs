//! How many descriptors a process may have open: getrlimit(2), setrlimit(2).
//!
//! The soft limit is 1,024 nearly everywhere, for the sake of programs that use select(2); the
//! hard limit is what a program may give itself. The epoll driver reads the one, the daemon raises
//! it to the other when it starts.

use crate::limits::DESCRIPTORS_KEPT;
use std::io;
use std::os::fd::RawFd;

fn limit() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a local that lives across the call.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } {
        0 => Ok(limit),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Descriptors that may be open, `u64::MAX` when nobody knows.
pub fn max() -> u64 {
    limit().map_or(u64::MAX, |limit| number(limit.rlim_cur))
}

/// Descriptors that may be open after [`raise`], likewise.
pub fn hard_max() -> u64 {
    limit().map_or(u64::MAX, |limit| number(limit.rlim_max))
}

/// FreeBSD counts with a sign.
#[allow(clippy::useless_conversion)]
fn number(limit: libc::rlim_t) -> u64 {
    u64::try_from(limit).unwrap_or(u64::MAX)
}

/// The descriptor from which on few are left. The kernel gives the lowest that is free (open(2)),
/// so that the number of a new one says how many are taken.
pub fn short_from() -> RawFd {
    let max = max();
    RawFd::try_from(max - (max / 4).min(DESCRIPTORS_KEPT)).unwrap_or(RawFd::MAX)
}

/// Raises the soft limit to the hard one.
///
/// # Errors
///
/// The kernel has a smaller idea of what is allowed; then all is as it was.
pub fn raise() -> io::Result<()> {
    let mut limit = limit()?;
    limit.rlim_cur = limit.rlim_max;
    match set(&limit) {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// prlimit(2): musl's setrlimit(3) also has what it takes to set a limit thread by thread, on
/// kernels of before 2010.
#[cfg(target_os = "linux")]
fn set(limit: &libc::rlimit) -> libc::c_int {
    // SAFETY: the kernel only reads the limit, and the old one is not asked for.
    unsafe { libc::prlimit(0, libc::RLIMIT_NOFILE, limit, std::ptr::null_mut()) }
}

#[cfg(not(target_os = "linux"))]
fn set(limit: &libc::rlimit) -> libc::c_int {
    // SAFETY: the kernel only reads the limit.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, limit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        raise().unwrap();
        assert_eq!(max(), hard_max());
        assert!(max() > 8 && max() < u64::MAX, "{}", max());
    }
}
