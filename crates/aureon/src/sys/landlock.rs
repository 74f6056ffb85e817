//! Landlock: the kernel's own answer to which files a thread may open (landlock(7)).
//!
//! A [`Ruleset`] is made once and put on threads, each of which then opens nothing outside of it;
//! threads that it starts inherit that, the others of the process keep what they have, and nothing
//! takes it back. What is open already stays open, and looking at names (`stat`, `O_PATH`) is no
//! opening. This is a second wall behind checks of one's own, against a handler that is talked
//! into another path; threads share their memory, so it is none against code that was injected.
//!
//! Linux 5.13 has it unless it was built or booted without; then [`version`] says so and the
//! caller goes on. `server/sandbox.rs` is the only caller.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

pub use super::words::Access;

const READ_FILE: u64 = 1 << 2;
const READ_DIRECTORY: u64 = 1 << 3;
/// Executing, writing, reading, truncating and `ioctl`: all that a rule on a file may name.
const OF_FILES: u64 = 0b111 | 1 << 14 | 1 << 15;
/// Everything but executing, and but the making of devices.
const READ_AND_WRITE: u64 = !(1 | 1 << 6 | 1 << 11);

/// `LANDLOCK_CREATE_RULESET_VERSION` and `LANDLOCK_RULE_PATH_BENEATH`.
const ASK_VERSION: u32 = 1;
const PATH_BENEATH: libc::c_int = 1;

/// The version of the kernel's interface, from 1; `None` where there is none: not built in, not
/// enabled, or hidden by a container's filter.
pub fn version() -> Option<u32> {
    // SAFETY: asking for the version takes no attributes; a null pointer of size 0 is the form
    // that landlock_create_ruleset(2) demands for it.
    let version = unsafe {
        let call = libc::SYS_landlock_create_ruleset;
        libc::syscall(call, ptr::null::<u64>(), 0_usize, ASK_VERSION)
    };
    u32::try_from(version).ok().filter(|version| *version > 0)
}

/// Every right over files that a version knows. One that it does not know is refused; one that is
/// not named here stays permitted.
fn known(version: u32) -> u64 {
    let count = match version {
        0 | 1 => 13,
        2 => 14,
        3 | 4 => 15,
        _ => 16,
    };
    (1 << count) - 1
}

/// Rules that can be put on threads.
#[derive(Debug)]
pub struct Ruleset {
    fd: OwnedFd,
    known: u64,
}

/// `struct landlock_path_beneath_attr`, which is packed.
#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    parent: RawFd,
}

impl Ruleset {
    /// Rules that permit nothing yet.
    ///
    /// # Errors
    ///
    /// No descriptor is left, or the kernel has no such [`version`].
    pub fn new(version: u32) -> io::Result<Ruleset> {
        let known = known(version);
        // SAFETY: the attributes are one `u64`, the first field and the whole of version 1's
        // struct, whose size is given with it; the kernel only reads them.
        let fd = unsafe {
            let call = libc::SYS_landlock_create_ruleset;
            libc::syscall(call, &raw const known, size_of::<u64>(), 0_u32)
        };
        let fd = RawFd::try_from(fd).unwrap_or(-1);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Ruleset { fd, known })
    }

    /// Permits access to a file, or to everything beneath a directory. It is the file or directory
    /// itself that is meant from now on, whatever the path names later.
    ///
    /// # Errors
    ///
    /// The path names nothing, or nothing that this process may look at.
    pub fn allow(&self, path: &Path, access: Access) -> io::Result<()> {
        let name = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: `name` is NUL-terminated; without O_CREAT no third argument is read.
        let fd = unsafe { libc::open(name.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
        let file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        let wanted = match access {
            Access::Read => READ_FILE | READ_DIRECTORY,
            Access::Write => READ_AND_WRITE,
        };
        let mut allowed = wanted & self.known;
        if !file.metadata()?.is_dir() {
            allowed &= OF_FILES;
        }
        let rule = Beneath {
            allowed,
            parent: file.as_raw_fd(),
        };
        // SAFETY: `rule` has the layout of the kernel's struct for this type of rule and outlives
        // the call; both descriptors are open for the whole call.
        let result = unsafe {
            let call = libc::SYS_landlock_add_rule;
            let ruleset = self.fd.as_raw_fd();
            libc::syscall(call, ruleset, PATH_BENEATH, &raw const rule, 0_u32)
        };
        done(result)
    }

    /// Puts the rules on this thread and on those that it will start, for good. They may also no
    /// longer gain rights by executing a set-user-ID program, without which the kernel would
    /// refuse.
    ///
    /// # Errors
    ///
    /// A filter of the system calls forbids it, or sixteen rulesets are on this thread already.
    pub fn restrict_thread(&self) -> io::Result<()> {
        // SAFETY: takes integers only, and concerns this thread alone.
        let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        done(result.into())?;
        // SAFETY: the descriptor is open for the whole call, which takes no pointer.
        done(unsafe {
            let call = libc::SYS_landlock_restrict_self;
            libc::syscall(call, self.fd.as_raw_fd(), 0_u32)
        })
    }
}

fn done(result: libc::c_long) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_version_names_no_right_that_it_does_not_know() {
        assert_eq!(known(1).count_ones(), 13);
        assert_eq!(known(3) & (1 << 14), 1 << 14, "truncating since 3");
        assert_eq!(known(99), known(5), "later ones took their own fields");
    }

    #[test]
    fn a_thread_opens_what_is_permitted_and_nothing_else() {
        let Some(version) = version() else {
            // Then the kernel must refuse the rest too, and nobody is told that it holds.
            assert!(Ruleset::new(1).is_err());
            return;
        };
        let place = std::env::temp_dir().join(format!("aureon-landlock-{}", std::process::id()));
        fs::create_dir_all(place.join("open")).unwrap();
        fs::create_dir_all(place.join("shut")).unwrap();
        for name in ["open/a", "shut/a", "lone"] {
            fs::write(place.join(name), "text").unwrap();
        }
        let rules = Ruleset::new(version).unwrap();
        rules.allow(&place.join("open"), Access::Read).unwrap();
        rules.allow(&place.join("lone"), Access::Write).unwrap();
        assert!(rules.allow(&place.join("none"), Access::Read).is_err());
        let here = place.clone();
        let thread = std::thread::spawn(move || {
            rules.restrict_thread().unwrap();
            assert_eq!(fs::read(here.join("open/a")).unwrap(), b"text");
            assert_eq!(fs::read_dir(here.join("open")).unwrap().count(), 1);
            let denied = |result: io::Result<()>| {
                assert_eq!(result.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            };
            denied(fs::read(here.join("shut/a")).map(drop));
            denied(fs::read_dir(here.join("shut")).map(drop));
            denied(fs::write(here.join("open/b"), "b"));
            denied(fs::remove_file(here.join("open/a")));
            if version >= 3 {
                fs::write(here.join("lone"), "more").unwrap();
            }
            // Inherited, and not to be taken back.
            std::thread::spawn(move || denied(fs::read(here.join("shut/a")).map(drop)))
                .join()
                .unwrap();
        });
        thread.join().unwrap();
        assert!(
            fs::read(place.join("shut/a")).is_ok(),
            "this thread is free"
        );
        fs::remove_dir_all(&place).unwrap();
    }
}
