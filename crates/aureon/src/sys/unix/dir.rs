//! Opening files beneath a directory, and nowhere else.
//!
//! The contract: [`Dir::open_beneath`] opens what a relative path names, and never anything
//! outside of the directory, whatever symbolic links lie on the way, and even while somebody
//! renames things. A link whose target is absolute or climbs above the directory is an error
//! (`EXDEV`); one that stays inside is followed. Opening never blocks (`O_NONBLOCK`: a FIFO
//! without a writer would) and never leaks into a child (`O_CLOEXEC`). The caller looks at the
//! [`Facts`] of what was opened, not at a path that may mean something else by then.
//!
//! Linux 5.6 resolves under `RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS` by itself (openat2(2)).
//! Where that call is missing or filtered out (older kernels, some container profiles, other
//! systems) the path is walked here, one `openat` with `O_NOFOLLOW` a component, following
//! links by hand. `files/` is the only caller.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::NonNull;

use crate::limits;

pub use crate::sys::words::{Entry, Facts, Fault, Kind};

/// Opens for reading what is served.
const READ: libc::c_int = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;

/// Opens without the right to read: for looking at, and for walking through.
#[cfg(target_os = "linux")]
const LOOK: libc::c_int = libc::O_PATH | libc::O_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const LOOK: libc::c_int = READ;

impl Facts {
    /// The facts of an open file: fstat(2), so they cannot be of another one.
    pub fn of(file: &File) -> io::Result<Facts> {
        let metadata = file.metadata()?;
        let kind = if metadata.is_file() {
            Kind::File
        } else if metadata.is_dir() {
            Kind::Directory
        } else {
            Kind::Other
        };
        Ok(Facts {
            kind,
            len: metadata.len(),
            modified_s: metadata.mtime(),
            modified_ns: metadata.mtime_nsec(),
            changed_s: metadata.ctime(),
            changed_ns: metadata.ctime_nsec(),
            inode: metadata.ino(),
            device: metadata.dev(),
        })
    }
}

impl Fault {
    /// Sorts an error of this room. openat2(2) names the less common ones.
    pub fn of(error: &io::Error) -> Fault {
        match error.raw_os_error() {
            Some(
                libc::ENOENT
                | libc::ENOTDIR
                | libc::ELOOP
                | libc::EXDEV
                | libc::ENAMETOOLONG
                | libc::ENXIO
                | libc::ENODEV
                | libc::EMLINK
                | libc::EILSEQ
                | libc::EINVAL,
            ) => Fault::Missing,
            Some(libc::EACCES | libc::EPERM) => Fault::Denied,
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN) => Fault::Exhausted,
            None if error.kind() == io::ErrorKind::NotFound => Fault::Missing,
            _ => Fault::Broken,
        }
    }
}

/// A directory held open. Renaming it does not change what it means.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    facts: Facts,
    kernel_resolves: bool,
}

impl Dir {
    /// Opens the directory, following links in `path` itself: it is the operator's word.
    pub fn open(path: &Path) -> io::Result<Dir> {
        let mut options = std::fs::OpenOptions::new();
        let file = options
            .read(true)
            .custom_flags(libc::O_DIRECTORY | LOOK)
            .open(path)?;
        let facts = Facts::of(&file)?;
        let fd = OwnedFd::from(file);
        let kernel_resolves = open_in_kernel(fd.as_fd(), c".", LOOK).is_ok();
        Ok(Dir {
            fd,
            facts,
            kernel_resolves,
        })
    }

    /// Whether both are the same directory.
    pub fn is_same(&self, other: &Dir) -> bool {
        (self.facts.device, self.facts.inode) == (other.facts.device, other.facts.inode)
    }

    /// Opens for reading what the path names beneath this directory. The empty path names the
    /// directory itself; one that ends in `/` names nothing but a directory.
    pub fn open_beneath(&self, path: &str) -> io::Result<(File, Facts)> {
        let file = File::from(self.resolve(path, READ)?);
        let facts = Facts::of(&file)?;
        Ok((file, facts))
    }

    /// The facts of what the path names, without the right to read it.
    pub fn facts(&self, path: &str) -> io::Result<Facts> {
        Facts::of(&File::from(self.resolve(path, LOOK)?))
    }

    /// The names in a directory with the facts of what they lead to, at most `count_max` of
    /// them, and whether there were more. Names that are not UTF-8 and links that lead outside
    /// or nowhere are left out: nothing of theirs could be served.
    pub fn list(&self, path: &str, count_max: usize) -> io::Result<(Vec<Entry>, bool)> {
        let mut names = Names::open(self.resolve(path, READ | libc::O_DIRECTORY)?)?;
        let mut entries = Vec::new();
        while let Some(name) = names.next() {
            let Ok(name) = name.to_str() else { continue };
            if name == "." || name == ".." {
                continue;
            }
            if entries.len() == count_max {
                return Ok((entries, true));
            }
            let name = name.to_owned();
            if let Ok(facts) = self.facts(&format!("{path}{name}")) {
                entries.push(Entry { name, facts });
            }
        }
        Ok((entries, false))
    }

    fn resolve(&self, path: &str, flags: libc::c_int) -> io::Result<OwnedFd> {
        if !self.kernel_resolves {
            return self.walk(path, flags);
        }
        let name = CString::new(if path.is_empty() { "." } else { path })?;
        // EAGAIN: a rename somewhere raced with a `..` in a link; openat2(2) says to try again.
        for _ in 0..limits::FILE_ATTEMPTS_MAX {
            match open_in_kernel(self.fd.as_fd(), &name, flags) {
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => {}
                    // A filter that was put on after this directory was opened.
                    Some(libc::ENOSYS | libc::EPERM) => return self.walk(path, flags),
                    _ => return Err(error),
                },
                opened => return opened,
            }
        }
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    /// Resolves in user space. Every directory entered stays open on a stack, so that a `..` in
    /// a link goes back to where we came from and never to what the file system says is above.
    fn walk(&self, path: &str, flags: libc::c_int) -> io::Result<OwnedFd> {
        let fail = |code| Err(io::Error::from_raw_os_error(code));
        let mut entered: Vec<OwnedFd> = Vec::new();
        let mut pending: Vec<CString> = Vec::new();
        let flags = if path.ends_with('/') {
            flags | libc::O_DIRECTORY
        } else {
            flags
        };
        push_components(&mut pending, path.as_bytes())?;
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if name.as_bytes() == b".." {
                // The directory itself is the ceiling.
                if entered.pop().is_none() {
                    return fail(libc::EXDEV);
                }
                continue;
            }
            let here = entered.last().map_or(self.fd.as_fd(), AsFd::as_fd);
            if let Some(target) = read_link(here, &name)? {
                links += 1;
                if links > limits::FILE_LINKS_MAX {
                    return fail(libc::ELOOP);
                }
                if target.starts_with(b"/") {
                    return fail(libc::EXDEV);
                }
                push_components(&mut pending, &target)?;
                continue;
            }
            // A link put here since is not followed: O_NOFOLLOW makes it an error.
            if pending.is_empty() {
                return open_at(here, &name, flags | libc::O_NOFOLLOW);
            }
            if entered.len() == limits::FILE_DEPTH_MAX {
                return fail(libc::ENAMETOOLONG);
            }
            let directory = LOOK | libc::O_DIRECTORY | libc::O_NOFOLLOW;
            let next = open_at(here, &name, directory)?;
            entered.push(next);
        }
        open_at(
            entered.last().map_or(self.fd.as_fd(), AsFd::as_fd),
            c".",
            flags,
        )
    }
}

/// Puts the components of a path on top of a stack, the first one uppermost.
fn push_components(pending: &mut Vec<CString>, path: &[u8]) -> io::Result<()> {
    let at = pending.len();
    for part in path.split(|byte| *byte == b'/') {
        if !part.is_empty() && part != b"." {
            pending.push(CString::new(part)?);
        }
    }
    pending[at..].reverse();
    Ok(())
}

/// What a symbolic link points to; `None` when the name is no link.
fn read_link(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let mut target = vec![0; limits::FILE_PATH_BYTES_MAX + 1];
    // SAFETY: `name` is NUL-terminated and `target` has room for the length given with it; the
    // call writes no more than that and does not keep either pointer.
    let len = unsafe {
        libc::readlinkat(
            dir.as_raw_fd(),
            name.as_ptr(),
            target.as_mut_ptr().cast(),
            target.len(),
        )
    };
    let Ok(len) = usize::try_from(len) else {
        let error = io::Error::last_os_error();
        // readlink(2): EINVAL is the answer for whatever exists and is not a link.
        return if error.raw_os_error() == Some(libc::EINVAL) {
            Ok(None)
        } else {
            Err(error)
        };
    };
    if len == target.len() {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    target.truncate(len);
    Ok(Some(target))
}

fn open_at(dir: BorrowedFd<'_>, name: &CStr, flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: `dir` is open for the whole call and `name` is NUL-terminated; without O_CREAT
    // no third argument is read.
    let fd = unsafe { libc::openat(dir.as_raw_fd(), name.as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(target_os = "linux")]
fn open_in_kernel(dir: BorrowedFd<'_>, path: &CStr, flags: libc::c_int) -> io::Result<OwnedFd> {
    /// `struct open_how` of openat2(2), as of its first version; later ones only append.
    #[repr(C)]
    struct OpenHow {
        flags: u64,
        mode: u64,
        resolve: u64,
    }
    let how = OpenHow {
        flags: u64::from(flags.cast_unsigned()),
        mode: 0,
        resolve: libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS,
    };
    // SAFETY: `path` is NUL-terminated, `how` is a whole `open_how` of the size given with it,
    // both outlive the call, and the kernel only reads them.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            dir.as_raw_fd(),
            path.as_ptr(),
            &raw const how,
            size_of::<OpenHow>(),
        )
    };
    let Ok(fd) = libc::c_int::try_from(fd) else {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(not(target_os = "linux"))]
fn open_in_kernel(_: BorrowedFd<'_>, _: &CStr, _: libc::c_int) -> io::Result<OwnedFd> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

/// A directory stream, readdir(3).
struct Names(NonNull<libc::DIR>);

impl Names {
    fn open(fd: OwnedFd) -> io::Result<Names> {
        // SAFETY: `fd` is an open descriptor. The stream takes it over only when it succeeds,
        // and only then do we give it up below.
        let stream = unsafe { libc::fdopendir(fd.as_raw_fd()) };
        let stream = NonNull::new(stream).ok_or_else(io::Error::last_os_error)?;
        let _owned_by_the_stream = fd.into_raw_fd();
        Ok(Names(stream))
    }

    /// The next name; it lives until the next call. An error in the midst of a directory ends it
    /// like its end does: what was read is shown.
    fn next(&mut self) -> Option<&CStr> {
        // SAFETY: the stream is open until drop, and `&mut self` keeps two calls apart.
        let entry = NonNull::new(unsafe { libc::readdir(self.0.as_ptr()) })?;
        // SAFETY: readdir(3) gives a valid entry that lives until the next call on this stream,
        // for which `&mut self` must be borrowed again, and its name is NUL-terminated. The
        // place is taken without a reference to the whole entry, whose tail may be unmapped.
        Some(unsafe { CStr::from_ptr((&raw const (*entry.as_ptr()).d_name).cast()) })
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // SAFETY: the stream is open, and nobody uses it after this.
        unsafe { libc::closedir(self.0.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A directory of its own with a root inside, removed at the end.
    struct Tree(PathBuf);

    impl Tree {
        fn new() -> Tree {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("aureon-dir-{}-{count}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(path.join("root/sub/deep")).expect("a temporary directory");
            std::fs::write(path.join("secret"), "secret").expect("written");
            std::fs::write(path.join("root/file"), "file").expect("written");
            std::fs::write(path.join("root/sub/inner"), "inner").expect("written");
            Tree(path)
        }

        fn link(&self, target: &str, name: &str) {
            symlink(target, self.0.join("root").join(name)).expect("linked");
        }

        /// The same directory twice: resolved by the kernel where it can, and by hand.
        fn dirs(&self) -> [Dir; 2] {
            let open = || Dir::open(&self.0.join("root")).expect("the root opens");
            let mut by_hand = open();
            by_hand.kernel_resolves = false;
            [open(), by_hand]
        }

        fn check(&self, path: &str, expected: Result<&str, Fault>) {
            for dir in self.dirs() {
                let opened = dir.open_beneath(path).map_err(|error| Fault::of(&error));
                let read = opened.and_then(|(file, _)| {
                    io::read_to_string(file).map_err(|error| Fault::of(&error))
                });
                let how = if dir.kernel_resolves {
                    "by the kernel"
                } else {
                    "by hand"
                };
                assert_eq!(
                    read.as_deref().map_err(|fault| *fault),
                    expected,
                    "{path} {how}"
                );
            }
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_kernel_resolves_by_itself() {
        let tree = Tree::new();
        assert!(tree.dirs()[0].kernel_resolves);
    }

    #[test]
    fn opens_what_lies_beneath() {
        let tree = Tree::new();
        tree.check("file", Ok("file"));
        tree.check("sub/inner", Ok("inner"));
        tree.check("nothing", Err(Fault::Missing));
        tree.check("file/", Err(Fault::Missing));
        tree.check("file/below", Err(Fault::Missing));
    }

    #[test]
    fn never_leaves_the_directory() {
        let tree = Tree::new();
        tree.check("../secret", Err(Fault::Missing));
        tree.check("sub/../../secret", Err(Fault::Missing));
        let secret = tree.0.join("secret");
        tree.link("../secret", "out");
        tree.link(&secret.to_string_lossy(), "absolute");
        tree.link("sub/../../secret", "roundabout");
        tree.link("..", "up");
        tree.link("/", "slash");
        tree.link("/proc/self/root", "magic");
        for path in [
            "out",
            "absolute",
            "roundabout",
            "up/secret",
            "slash/etc/passwd",
        ] {
            tree.check(path, Err(Fault::Missing));
        }
        tree.check("magic/etc/passwd", Err(Fault::Missing));
    }

    #[test]
    fn follows_links_that_stay_inside() {
        let tree = Tree::new();
        tree.link("file", "near");
        tree.link("sub", "s");
        tree.link("../../file", "sub/deep/back");
        tree.link("./sub/./deep/../inner", "winding");
        tree.check("near", Ok("file"));
        tree.check("s/inner", Ok("inner"));
        tree.check("sub/deep/back", Ok("file"));
        tree.check("s/deep/back", Ok("file"));
        tree.check("winding", Ok("inner"));
    }

    #[test]
    fn gives_up_on_loops_and_dangling_links() {
        let tree = Tree::new();
        tree.link("loop", "loop");
        tree.link("pong", "ping");
        tree.link("ping", "pong");
        tree.link("nowhere", "dangling");
        for path in ["loop", "ping", "pong/x", "dangling"] {
            tree.check(path, Err(Fault::Missing));
        }
    }

    #[test]
    fn a_fifo_neither_blocks_nor_counts_as_a_file() {
        let tree = Tree::new();
        let path = tree.0.join("root/fifo");
        let path = CString::new(path.to_string_lossy().as_bytes()).expect("no NUL");
        // SAFETY: the path is NUL-terminated and outlives the call.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
        let socket = std::os::unix::net::UnixListener::bind(tree.0.join("root/socket"));
        for dir in tree.dirs() {
            let (_, facts) = dir.open_beneath("fifo").expect("opened without a writer");
            assert_eq!(facts.kind, Kind::Other);
            let refused = dir
                .open_beneath("socket")
                .map_err(|error| Fault::of(&error));
            assert_eq!(refused.map(|_| ()), Err(Fault::Missing));
        }
        drop(socket);
    }

    #[test]
    fn facts_tell_states_and_kinds_apart() {
        let tree = Tree::new();
        for dir in tree.dirs() {
            let before = dir.facts("file").expect("facts");
            assert_eq!((before.kind, before.len), (Kind::File, 4));
            assert_eq!(dir.facts("sub").expect("facts").kind, Kind::Directory);
            assert_eq!(dir.facts("").expect("facts").kind, Kind::Directory);
            assert_eq!(before, dir.facts("file").expect("facts"));
            std::fs::rename(tree.0.join("root/file"), tree.0.join("root/old")).expect("moved");
            std::fs::write(tree.0.join("root/file"), "elif").expect("written");
            assert_ne!(before, dir.facts("file").expect("facts"));
        }
    }

    #[test]
    fn lists_names_up_to_a_bound_and_nothing_from_outside() {
        let tree = Tree::new();
        tree.link("../secret", "out");
        tree.link("sub", "inside");
        for dir in tree.dirs() {
            let (mut entries, more) = dir.list("", 10).expect("listed");
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            let names: Vec<&str> = entries.iter().map(|entry| &*entry.name).collect();
            assert_eq!(names, ["file", "inside", "sub"]);
            assert_eq!(entries[1].facts.kind, Kind::Directory);
            assert!(!more);
            let (entries, more) = dir.list("", 2).expect("listed");
            assert!(more && entries.len() == 2);
            let (entries, _) = dir.list("sub/", 10).expect("listed");
            assert_eq!(entries.len(), 2);
            assert!(dir.list("file", 10).is_err());
            assert!(dir.list("up/", 10).is_err());
        }
    }

    #[test]
    fn sorts_errors_by_what_can_be_done() {
        let sorted = |code| Fault::of(&io::Error::from_raw_os_error(code));
        assert_eq!(sorted(libc::ENOENT), Fault::Missing);
        assert_eq!(sorted(libc::EXDEV), Fault::Missing);
        assert_eq!(sorted(libc::EACCES), Fault::Denied);
        assert_eq!(sorted(libc::EMFILE), Fault::Exhausted);
        assert_eq!(sorted(libc::ENFILE), Fault::Exhausted);
        assert_eq!(sorted(libc::EIO), Fault::Broken);
        assert_eq!(Fault::of(&io::ErrorKind::NotFound.into()), Fault::Missing);
        assert_eq!(
            Fault::of(&io::ErrorKind::UnexpectedEof.into()),
            Fault::Broken
        );
    }

    #[test]
    fn tells_a_replaced_directory_from_the_same_one() {
        let tree = Tree::new();
        let [first, second] = tree.dirs();
        assert!(first.is_same(&second));
        std::fs::rename(tree.0.join("root"), tree.0.join("old")).expect("moved");
        std::fs::create_dir(tree.0.join("root")).expect("made");
        let third = Dir::open(&tree.0.join("root")).expect("opened");
        assert!(!first.is_same(&third));
        assert!(first.open_beneath("file").is_ok());
    }
}
