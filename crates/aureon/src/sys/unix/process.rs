//! Starting another program, as posix_spawn(3) does it.
//!
//! For a daemon that hands over to a new release of itself: the child gets what is said here and
//! nothing else, with default signals. `std::process::Command` could do the same; it carries the
//! pipes, the maps and the fork that a command line needs, which are 25 KB of a program that has
//! 500.

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::ptr;
use std::time::Duration;

use crate::sys::socket::{self, Inheritable};

pub use crate::sys::words::{Ended, Use as Access};

/// A connection between this process and another of its program.
#[derive(Debug)]
pub struct Channel(UnixStream);

impl Channel {
    /// A new one: our end, and the other's, which a child inherits.
    ///
    /// # Errors
    ///
    /// There is no descriptor left.
    pub fn pair() -> io::Result<(Channel, Inheritable)> {
        let (ours, theirs) = UnixStream::pair()?;
        let theirs = socket::inheritable(&theirs.into())?;
        Ok((Channel(ours), theirs))
    }

    /// The end that a parent process left, by the number of its descriptor.
    ///
    /// # Errors
    ///
    /// There is no such descriptor.
    pub fn inherited(number: u32) -> io::Result<Channel> {
        Ok(Channel(socket::take_inherited(number)?.into()))
    }

    /// Another handle of the same end.
    ///
    /// # Errors
    ///
    /// There is no descriptor left.
    pub fn try_clone(&self) -> io::Result<Channel> {
        self.0.try_clone().map(Channel)
    }

    /// How long a read may wait.
    ///
    /// # Errors
    ///
    /// The time is zero.
    pub fn set_read_timeout(&self, patience: Duration) -> io::Result<()> {
        self.0.set_read_timeout(Some(patience))
    }
}

impl Read for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Channel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The number by which a child finds what it inherits.
pub fn number(inherited: &Inheritable) -> u32 {
    // A descriptor that is open is not negative.
    inherited.as_raw_fd().unsigned_abs()
}

/// A process that was started and has not been waited for.
#[derive(Debug)]
pub struct Child {
    pid: libc::pid_t,
}

/// Starts a program. `arguments` begin with the name it is called by. The child inherits every
/// descriptor that is not close-on-exec.
///
/// # Errors
///
/// There is no such program, it can not be executed, a word has a NUL in it, or the machine has
/// no process left.
pub fn start(
    program: &Path,
    arguments: impl Iterator<Item = OsString>,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> io::Result<Child> {
    let program = CString::new(program.as_os_str().as_bytes())?;
    let arguments = Words::new(arguments)?;
    let environment = Words::new(environment.map(|(name, value)| {
        let equals: &OsStr = OsStr::from_bytes(b"=");
        OsString::from_vec([name.as_bytes(), equals.as_bytes(), value.as_bytes()].concat())
    }))?;
    let attributes = Attributes::new()?;
    let mut pid = 0;
    // SAFETY: the strings end in NUL and the lists in a null pointer, and all of them, as the
    // attributes, live until the call has returned; posix_spawn(3) writes none of them.
    let code = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            ptr::null(),
            &raw const attributes.0,
            arguments.pointers.as_ptr(),
            environment.pointers.as_ptr(),
        )
    };
    check(code)?;
    Ok(Child { pid })
}

impl Child {
    /// The process's number.
    pub fn id(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// Ends the process at once, if it still runs, and waits for it.
    ///
    /// # Errors
    ///
    /// Somebody else has waited for it.
    pub fn kill(self) -> io::Result<Ended> {
        // SAFETY: the number is our child's until it is waited for, which only this does and only
        // once: `self` is consumed. It may have ended already, so the result says nothing.
        let _ = unsafe { libc::kill(self.pid, libc::SIGKILL) };
        let mut status = 0;
        // SAFETY: the pointer is to a local that lives across the call.
        while unsafe { libc::waitpid(self.pid, &raw mut status, 0) } < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        Ok(match libc::WIFSIGNALED(status) {
            true => Ended::Signal(libc::WTERMSIG(status)),
            false => Ended::Code(libc::WEXITSTATUS(status)),
        })
    }
}

/// A list of strings as exec(3) wants it. Each pointer is to a string that this owns.
struct Words {
    pointers: Vec<*mut libc::c_char>,
}

impl Words {
    fn new(words: impl Iterator<Item = OsString>) -> io::Result<Words> {
        let mut list = Words {
            pointers: Vec::new(),
        };
        for word in words {
            list.pointers
                .push(CString::new(word.into_vec())?.into_raw());
        }
        list.pointers.push(ptr::null_mut());
        Ok(list)
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        for pointer in self.pointers.drain(..).filter(|pointer| !pointer.is_null()) {
            // SAFETY: every pointer but the last, which is null, came from `CString::into_raw`.
            drop(unsafe { CString::from_raw(pointer) });
        }
    }
}

/// Default signals for the child: none blocked, and `SIGPIPE`, which Rust ignores, as it was.
struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Attributes> {
        // SAFETY: an all-zero value of this type is valid memory for posix_spawnattr_init(3), and
        // sets and attributes are locals that live across the calls.
        unsafe {
            let mut attributes: libc::posix_spawnattr_t = std::mem::zeroed();
            check(libc::posix_spawnattr_init(&raw mut attributes))?;
            let mut attributes = Attributes(attributes);
            let mut signals: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut signals);
            check(libc::posix_spawnattr_setsigmask(
                &raw mut attributes.0,
                &raw const signals,
            ))?;
            libc::sigaddset(&raw mut signals, libc::SIGPIPE);
            check(libc::posix_spawnattr_setsigdefault(
                &raw mut attributes.0,
                &raw const signals,
            ))?;
            let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
            check(libc::posix_spawnattr_setflags(
                &raw mut attributes.0,
                flags as libc::c_short,
            ))?;
            Ok(attributes)
        }
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: it was initialised, and is not used again.
        let _ = unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

/// Whether the user that this process runs as may do that with a file; changes nothing (access(2)).
///
/// # Errors
///
/// It may not, there is no such file, or its file system is read only.
pub fn may(path: &Path, access: Access) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mode = match access {
        Access::Read => libc::R_OK,
        Access::Write => libc::W_OK,
        Access::Enter => libc::X_OK,
    };
    // SAFETY: the path ends in NUL and lives across the call.
    match unsafe { libc::access(path.as_ptr(), mode) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// These functions give the number of the error rather than set errno.
fn check(code: libc::c_int) -> io::Result<()> {
    match code {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;

    fn shell(script: &str, environment: &[(&str, &str)]) -> io::Result<Child> {
        let arguments = ["sh", "-c", script].map(OsString::from);
        let environment = environment
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        start(Path::new("/bin/sh"), arguments.into_iter(), environment)
    }

    /// Runs a script whose end of a socket pair is `$FD`, and gives what it wrote there.
    fn told(script: &str, environment: &[(&str, &str)]) -> (String, Child) {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let theirs = socket::inheritable(&OwnedFd::from(theirs)).unwrap();
        let number = theirs.as_raw_fd().to_string();
        let environment = [environment, &[("FD", number.as_str())]].concat();
        let child = shell(script, &environment).unwrap();
        drop(theirs);
        let mut text = String::new();
        ours.read_to_string(&mut text).unwrap();
        (text, child)
    }

    #[test]
    fn a_program_gets_its_words_its_environment_and_what_it_may_inherit() {
        let script = "echo \"$0 $GREETING\" >&$FD; env | grep -c ^HOME= >&$FD";
        let (text, child) = told(script, &[("GREETING", "a = b")]);
        assert_eq!(text, "sh a = b\n0\n");
        assert!(child.id() > 1);
        child.kill().unwrap();
    }

    #[test]
    fn no_signal_is_blocked_and_a_broken_pipe_ends_the_child() {
        let script = "while read name set; do case $name in SigBlk:|SigIgn:) echo $set;; esac; \
                      done </proc/$$/status >&$FD";
        let (text, child) = told(script, &[]);
        let sets: Vec<u64> = text
            .lines()
            .map(|line| u64::from_str_radix(line, 16).unwrap())
            .collect();
        let [blocked, ignored] = sets[..] else {
            panic!("{text}")
        };
        assert_eq!((blocked, ignored & 1 << (libc::SIGPIPE - 1)), (0, 0));
        child.kill().unwrap();
    }

    #[test]
    fn how_it_ended_is_told() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let theirs = socket::inheritable(&OwnedFd::from(theirs)).unwrap();
        let number = theirs.as_raw_fd().to_string();
        let running = shell("read x <&$FD", &[("FD", &number)]).unwrap();
        drop(theirs);
        ours.write_all(b"").unwrap();
        assert_eq!(running.kill().unwrap(), Ended::Signal(9));

        let (_, ended) = told("exit 78", &[]);
        // Its end of the pair is closed, so it is ending; a signal that finds it still there is
        // the other truth.
        let how = ended.kill().unwrap();
        assert!(
            [Ended::Code(78), Ended::Signal(9)].contains(&how),
            "{how:?}"
        );
    }

    #[test]
    fn what_a_process_may_is_asked_without_doing_it() {
        let kind = |path: &str, access| may(Path::new(path), access).map_err(|error| error.kind());
        assert_eq!(kind("/", Access::Read), Ok(()));
        assert_eq!(kind("/", Access::Enter), Ok(()));
        // Nobody may run what no bit says is a program, root neither.
        let denied = Err(io::ErrorKind::PermissionDenied);
        assert_eq!(kind("/proc/version", Access::Enter), denied);
        let missing = Err(io::ErrorKind::NotFound);
        assert_eq!(kind("/no/such/file", Access::Write), missing);
    }

    #[test]
    fn what_can_not_be_started_says_why() {
        let none = || std::iter::empty::<OsString>();
        let nothing = || std::iter::empty::<(OsString, OsString)>();
        let error = start(Path::new("/no/such/program"), none(), nothing()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let error = start(Path::new("/bin"), none(), nothing()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let error = shell("a\0b", &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
