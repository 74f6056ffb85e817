//! Opening files beneath a directory, and nowhere else, on Windows.
//!
//! The contract is that of the POSIX file of this name, by three walls:
//!
//! 1. Only names that mean what they say are looked up: no backslash, colon (drives, streams),
//!    wildcard, control character, trailing dot or space, `.` or `..`.
//! 2. They are looked up by `NtCreateFile` beneath the open directory, where the kernel knows no
//!    drives, shares, devices or `..`, and refuses every symbolic link and junction on the way
//!    (`OBJ_DONT_REPARSE`), also one that would stay inside.
//! 3. What was opened must bear, letter for letter, the name that was asked for. So a short name
//!    (`GIT~1`) or another case (`.GIT`) leads nowhere, as it would on Linux.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle};
use std::path::Path;
use std::ptr;

use windows_sys::Wdk::Foundation::OBJECT_ATTRIBUTES;
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_DIRECTORY_FILE, FILE_OPEN, FILE_OPEN_FOR_BACKUP_INTENT, FILE_SYNCHRONOUS_IO_NONALERT,
    NTCREATEFILE_CREATE_OPTIONS, NtCreateFile,
};
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_BAD_PATHNAME, ERROR_CANT_ACCESS_FILE, ERROR_DIRECTORY,
    ERROR_FILE_NOT_FOUND, ERROR_FILENAME_EXCED_RANGE, ERROR_INVALID_NAME, ERROR_INVALID_PARAMETER,
    ERROR_LOCK_VIOLATION, ERROR_NO_MORE_FILES, ERROR_NO_SYSTEM_RESOURCES, ERROR_NOT_ENOUGH_MEMORY,
    ERROR_OUTOFMEMORY, ERROR_PATH_NOT_FOUND, ERROR_REPARSE_POINT_ENCOUNTERED,
    ERROR_SHARING_VIOLATION, ERROR_STOPPED_ON_SYMLINK, ERROR_TOO_MANY_OPEN_FILES, HANDLE,
    OBJ_CASE_INSENSITIVE, OBJ_DONT_REPARSE, RtlNtStatusToDosError, UNICODE_STRING,
};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, FILE_ATTRIBUTE_DIRECTORY, FILE_BASIC_INFO,
    FILE_FLAG_BACKUP_SEMANTICS, FILE_GENERIC_READ, FILE_ID_BOTH_DIR_INFO, FILE_LIST_DIRECTORY,
    FILE_READ_ATTRIBUTES, FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_TRAVERSE,
    FILE_TYPE_DISK, FileBasicInfo, FileIdBothDirectoryInfo, GetFileInformationByHandle,
    GetFileInformationByHandleEx, GetFileType, GetFinalPathNameByHandleW, SYNCHRONIZE,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;

use crate::limits;

pub use crate::sys::words::{Entry, Facts, Fault, Kind};

/// Others may read, write, rename and delete meanwhile, as on other systems.
pub(super) const SHARE_ALL: u32 = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;

/// What a lookup asks for: to read, or only to look at.
const READ: u32 = FILE_GENERIC_READ;
const LOOK: u32 = FILE_READ_ATTRIBUTES | SYNCHRONIZE;

/// Bytes of names read from a directory at once. 64 KiB, as FindFirstFile does it at most.
const NAMES_BYTES: usize = 64 * 1024;

/// Between 1601, from which Windows counts in tenths of a microsecond, and 1970.
const TICKS_TO_1970: i64 = 116_444_736_000_000_000;
const TICKS_IN_SECOND: i64 = 10_000_000;

impl Facts {
    /// The facts of an open file, which cannot be of another one.
    pub fn of(file: &File) -> io::Result<Facts> {
        let handle = file.as_raw_handle();
        // SAFETY: the handle is open for the whole call.
        if unsafe { GetFileType(handle) } != FILE_TYPE_DISK {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut info = BY_HANDLE_FILE_INFORMATION::default();
        // SAFETY: the handle is open and `info` a local that lives across the call.
        done(unsafe { GetFileInformationByHandle(handle, &raw mut info) })?;
        let mut basic = FILE_BASIC_INFO::default();
        let length = size_of::<FILE_BASIC_INFO>() as u32;
        // SAFETY: as above; the length is that of the local.
        done(unsafe {
            let basic = (&raw mut basic).cast();
            GetFileInformationByHandleEx(handle, FileBasicInfo, basic, length)
        })?;
        let is_directory = info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY != 0;
        let (modified_s, modified_ns) = unix_time(basic.LastWriteTime);
        let (changed_s, changed_ns) = unix_time(basic.ChangeTime);
        Ok(Facts {
            kind: if is_directory {
                Kind::Directory
            } else {
                Kind::File
            },
            len: u64::from(info.nFileSizeHigh) << 32 | u64::from(info.nFileSizeLow),
            modified_s,
            modified_ns,
            changed_s,
            changed_ns,
            inode: u64::from(info.nFileIndexHigh) << 32 | u64::from(info.nFileIndexLow),
            device: u64::from(info.dwVolumeSerialNumber),
        })
    }
}

fn unix_time(ticks: i64) -> (i64, i64) {
    let ticks = ticks.saturating_sub(TICKS_TO_1970);
    let nanoseconds = ticks.rem_euclid(TICKS_IN_SECOND) * 100;
    (ticks.div_euclid(TICKS_IN_SECOND), nanoseconds)
}

fn done(result: i32) -> io::Result<()> {
    match result {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

impl Fault {
    /// Sorts an error of this room.
    pub fn of(error: &io::Error) -> Fault {
        let code = error.raw_os_error().map(i32::cast_unsigned);
        match code {
            Some(
                ERROR_FILE_NOT_FOUND
                | ERROR_PATH_NOT_FOUND
                | ERROR_INVALID_NAME
                | ERROR_BAD_PATHNAME
                | ERROR_DIRECTORY
                | ERROR_INVALID_PARAMETER
                | ERROR_FILENAME_EXCED_RANGE
                | ERROR_CANT_ACCESS_FILE
                | ERROR_STOPPED_ON_SYMLINK
                | ERROR_REPARSE_POINT_ENCOUNTERED,
            ) => Fault::Missing,
            Some(ERROR_ACCESS_DENIED) => Fault::Denied,
            // Somebody has the file to himself for a moment.
            Some(
                ERROR_SHARING_VIOLATION
                | ERROR_LOCK_VIOLATION
                | ERROR_TOO_MANY_OPEN_FILES
                | ERROR_NOT_ENOUGH_MEMORY
                | ERROR_OUTOFMEMORY
                | ERROR_NO_SYSTEM_RESOURCES,
            ) => Fault::Exhausted,
            None if error.kind() == io::ErrorKind::NotFound => Fault::Missing,
            _ => Fault::Broken,
        }
    }
}

/// A directory held open. Renaming it does not change what it means.
#[derive(Debug)]
pub struct Dir {
    file: File,
    facts: Facts,
}

impl Dir {
    /// Opens the directory, following links in `path` itself: it is the operator's word.
    pub fn open(path: &Path) -> io::Result<Dir> {
        let file = OpenOptions::new()
            .access_mode(FILE_LIST_DIRECTORY | FILE_TRAVERSE | LOOK)
            .share_mode(SHARE_ALL)
            .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
            .open(path)?;
        let facts = Facts::of(&file)?;
        if !facts.is_directory() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Dir { file, facts })
    }

    /// Whether both are the same directory.
    pub fn is_same(&self, other: &Dir) -> bool {
        (self.facts.device, self.facts.inode) == (other.facts.device, other.facts.inode)
    }

    /// Opens for reading what the path names beneath this directory. The empty path names the
    /// directory itself; one that ends in `/` names nothing but a directory.
    pub fn open_beneath(&self, path: &str) -> io::Result<(File, Facts)> {
        let file = self.resolve(path, READ)?;
        let facts = Facts::of(&file)?;
        Ok((file, facts))
    }

    /// The facts of what the path names, without the right to read it.
    pub fn facts(&self, path: &str) -> io::Result<Facts> {
        Facts::of(&self.resolve(path, LOOK)?)
    }

    /// The names in a directory with the facts of what they stand for, at most `count_max` of
    /// them, and whether there were more. Names that are not Unicode, and those that could not be
    /// opened by [`Dir::open_beneath`], links among them, are left out.
    pub fn list(&self, path: &str, count_max: usize) -> io::Result<(Vec<Entry>, bool)> {
        let mut names = Names::new(self.resolve(path, FILE_LIST_DIRECTORY | LOOK)?);
        let mut entries = Vec::new();
        while let Some(name) = names.next() {
            if name == "." || name == ".." {
                continue;
            }
            if entries.len() == count_max {
                return Ok((entries, true));
            }
            if let Ok(facts) = self.facts(&[path, &name].concat()) {
                entries.push(Entry { name, facts });
            }
        }
        // A file has no names, and the caller asked for a directory's.
        if names.failed && entries.is_empty() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok((entries, false))
    }

    fn resolve(&self, path: &str, access: u32) -> io::Result<File> {
        let (path, options) = match path.strip_suffix('/') {
            Some(path) => (path, FILE_DIRECTORY_FILE),
            None => (path, 0),
        };
        let name = to_name(path)?;
        // The directory itself may be renamed between two looks at it: then anew.
        for _ in 0..limits::FILE_ATTEMPTS_MAX {
            let above = final_path(&self.file)?;
            let file = open_at(&self.file, &name, access, options)?;
            let found = final_path(&file)?;
            if is_beneath(&found, &above, &name) {
                return Ok(file);
            }
            if final_path(&self.file)? == above {
                return Err(io::ErrorKind::NotFound.into());
            }
        }
        Err(io::Error::from_raw_os_error(
            ERROR_SHARING_VIOLATION.cast_signed(),
        ))
    }
}

/// A path below a directory as Windows writes it, if each of its names means what it says.
fn to_name(path: &str) -> io::Result<Vec<u16>> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let means_itself = |name: &str| {
        let special = |c: char| c < ' ' || "\\:*?\"<>|".contains(c);
        !name.is_empty() && !name.contains(special) && !name.ends_with(['.', ' '])
    };
    if path.len() > limits::FILE_PATH_BYTES_MAX || !path.split('/').all(means_itself) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(path.replace('/', "\\").encode_utf16().collect())
}

/// Whether `found` is the directory `above` and the name behind it. A drive's own directory ends
/// in a backslash, others do not.
fn is_beneath(found: &[u16], above: &[u16], name: &[u16]) -> bool {
    const BACKSLASH: u16 = b'\\' as u16;
    let Some(rest) = found.strip_prefix(above) else {
        return false;
    };
    if name.is_empty() {
        return rest.is_empty();
    }
    match above.last() {
        Some(&BACKSLASH) => rest == name,
        _ => rest.strip_prefix(&[BACKSLASH]) == Some(name),
    }
}

fn open_at(
    dir: &File,
    name: &[u16],
    access: u32,
    options: NTCREATEFILE_CREATE_OPTIONS,
) -> io::Result<File> {
    let bytes = u16::try_from(size_of_val(name))
        .map_err(|_| io::Error::from_raw_os_error(ERROR_FILENAME_EXCED_RANGE.cast_signed()))?;
    let name = UNICODE_STRING {
        Length: bytes,
        MaximumLength: bytes,
        Buffer: name.as_ptr().cast_mut(),
    };
    let attributes = OBJECT_ATTRIBUTES {
        Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
        RootDirectory: dir.as_raw_handle(),
        ObjectName: &raw const name,
        Attributes: OBJ_CASE_INSENSITIVE | OBJ_DONT_REPARSE,
        SecurityDescriptor: ptr::null(),
        SecurityQualityOfService: ptr::null(),
    };
    let mut handle: HANDLE = ptr::null_mut();
    let mut status_block = IO_STATUS_BLOCK::default();
    // FILE_OPEN_FOR_BACKUP_INTENT: directories are opened as files are.
    let options = options | FILE_SYNCHRONOUS_IO_NONALERT | FILE_OPEN_FOR_BACKUP_INTENT;
    // SAFETY: name, attributes and results are locals that live across the call, which does not
    // write the name; the directory is open meanwhile. No buffer of extended attributes is given.
    let status = unsafe {
        NtCreateFile(
            &raw mut handle,
            access,
            &raw const attributes,
            &raw mut status_block,
            ptr::null(),
            0,
            SHARE_ALL,
            FILE_OPEN,
            options,
            ptr::null(),
            0,
        )
    };
    if status < 0 {
        // SAFETY: takes and gives a number.
        let code = unsafe { RtlNtStatusToDosError(status) };
        return Err(io::Error::from_raw_os_error(code.cast_signed()));
    }
    // SAFETY: the kernel has just given us this handle, and nobody else has it.
    Ok(unsafe { File::from_raw_handle(handle) })
}

/// The path of what is open, in its own spelling and without short names.
fn final_path(file: &File) -> io::Result<Vec<u16>> {
    // A drive, a root and a path below it.
    let mut path = vec![0u16; limits::FILE_PATH_BYTES_MAX];
    loop {
        let room = path.len() as u32;
        let handle = file.as_raw_handle();
        // SAFETY: pointer and room are the vector's own; the handle is open.
        let len = unsafe { GetFinalPathNameByHandleW(handle, path.as_mut_ptr(), room, 0) };
        match len as usize {
            0 => return Err(io::Error::last_os_error()),
            len if len < path.len() => {
                path.truncate(len);
                return Ok(path);
            }
            // Windows has no path of more than 32,767 letters.
            len if path.len() <= usize::from(u16::MAX) => path.resize(len + 1, 0),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// The names in an open directory.
struct Names {
    dir: File,
    /// In units of eight bytes, to which the kernel aligns what it writes.
    buffer: Vec<u64>,
    /// Where the next name's record begins, while there is one.
    at: Option<usize>,
    failed: bool,
}

impl Names {
    fn new(dir: File) -> Names {
        Names {
            dir,
            buffer: vec![0; NAMES_BYTES / size_of::<u64>()],
            at: None,
            failed: false,
        }
    }

    /// Reads on; false at the end. An error in the midst of a directory ends it likewise.
    fn read(&mut self) -> bool {
        let bytes = size_of_val(&self.buffer[..]) as u32;
        let handle = self.dir.as_raw_handle();
        // SAFETY: pointer and length are the buffer's own, which is aligned to eight bytes.
        let read = unsafe {
            let buffer = self.buffer.as_mut_ptr().cast();
            GetFileInformationByHandleEx(handle, FileIdBothDirectoryInfo, buffer, bytes)
        };
        if read == 0 {
            let code = io::Error::last_os_error().raw_os_error();
            self.failed = code != Some(ERROR_NO_MORE_FILES.cast_signed());
        }
        self.at = (read != 0).then_some(0);
        read != 0
    }

    /// The next name that is Unicode.
    fn next(&mut self) -> Option<String> {
        loop {
            let Some(at) = self.at else {
                if !self.read() {
                    return None;
                }
                continue;
            };
            let bytes = size_of_val(&self.buffer[..]);
            let name_at = at + mem::offset_of!(FILE_ID_BOTH_DIR_INFO, FileName);
            if name_at > bytes {
                return None;
            }
            // SAFETY: `at` is a multiple of eight where the kernel has begun a record, and the
            // record up to its name lies in the buffer, as was just seen. The struct's own tail,
            // of which nothing is read through this, may lie behind the buffer's end, so that no
            // reference to the whole is made.
            let (len, next) = unsafe {
                let start = self.buffer.as_ptr().cast::<u8>().add(at);
                let record = start.cast::<FILE_ID_BOTH_DIR_INFO>();
                let len = (&raw const (*record).FileNameLength).read();
                (
                    len as usize,
                    (&raw const (*record).NextEntryOffset).read() as usize,
                )
            };
            self.at = (next != 0).then_some(at + next);
            if name_at + len > bytes {
                return None;
            }
            // SAFETY: the name lies in the buffer, as was just seen, and begins at an even place.
            let name = unsafe {
                let start = self.buffer.as_ptr().cast::<u8>().add(name_at);
                std::slice::from_raw_parts(start.cast::<u16>(), len / 2)
            };
            if let Ok(name) = String::from_utf16(name) {
                return Some(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
            std::fs::create_dir_all(path.join("root\\Sub")).unwrap();
            std::fs::write(path.join("secret"), "secret").unwrap();
            std::fs::write(path.join("root\\File.txt"), "file").unwrap();
            std::fs::write(path.join("root\\Sub\\Inner.html"), "inner").unwrap();
            Tree(path)
        }

        fn dir(&self) -> Dir {
            Dir::open(&self.0.join("root")).unwrap()
        }

        fn check(&self, path: &str, expected: Result<&str, Fault>) {
            let opened = self.dir().open_beneath(path);
            let read = opened.and_then(|(file, _)| io::read_to_string(file));
            let read = read.map_err(|error| Fault::of(&error));
            assert_eq!(read.as_deref().map_err(|fault| *fault), expected, "{path}");
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn opens_what_lies_beneath_by_its_own_name() {
        let tree = Tree::new();
        tree.check("File.txt", Ok("file"));
        tree.check("Sub/Inner.html", Ok("inner"));
        for path in [
            "nothing",
            "file.txt",
            "sub/Inner.html",
            "Sub/INNER.html",
            "File.txt/",
            "File.txt/below",
            "Sub/../File.txt",
            "./File.txt",
            "Sub//Inner.html",
        ] {
            tree.check(path, Err(Fault::Missing));
        }
    }

    #[test]
    fn never_leaves_the_directory() {
        let tree = Tree::new();
        let absolute = tree.0.join("secret");
        let absolute = absolute.to_string_lossy();
        for path in [
            "../secret",
            "..\\secret",
            "Sub/../../secret",
            "Sub\\Inner.html",
            "\\secret",
            "/secret",
            &absolute,
            "\\\\?\\C:\\windows\\win.ini",
            "\\??\\C:\\windows\\win.ini",
            "C:",
            "File.txt:",
            "File.txt::$DATA",
            "File.txt.",
            "File.txt ",
            "Sub./Inner.html",
            "NUL",
            "CON",
            "Sub/COM1",
            "FILE~1.TXT",
        ] {
            tree.check(path, Err(Fault::Missing));
        }
    }

    #[test]
    fn the_second_wall_holds_without_the_first() {
        let tree = Tree::new();
        let dir = tree.dir();
        for name in [
            "..\\secret",
            "Sub\\..\\..\\secret",
            "\\windows",
            "NUL",
            "C:\\windows",
        ] {
            let name: Vec<u16> = name.encode_utf16().collect();
            let opened = open_at(&dir.file, &name, READ, 0);
            let fault = opened.map(|_| ()).map_err(|error| Fault::of(&error));
            assert_eq!(fault, Err(Fault::Missing));
        }
    }

    #[test]
    fn a_path_is_beneath_by_whole_names() {
        let wide = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
        let check = |found: &str, above: &str, name: &str| {
            is_beneath(&wide(found), &wide(above), &wide(name))
        };
        assert!(check("C:\\root\\a", "C:\\root", "a"));
        assert!(check("C:\\a", "C:\\", "a"));
        assert!(check("C:\\root", "C:\\root", ""));
        assert!(!check("C:\\rooted\\a", "C:\\root", "a"));
        assert!(!check("C:\\root\\A", "C:\\root", "a"));
        assert!(!check("C:\\roota", "C:\\root", "a"));
        assert!(!check("D:\\a", "C:\\root", "a"));
    }

    #[test]
    fn facts_tell_states_and_kinds_apart() {
        let tree = Tree::new();
        let dir = tree.dir();
        let before = dir.facts("File.txt").unwrap();
        assert_eq!((before.kind, before.len), (Kind::File, 4));
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        assert!(before.modified_s.abs_diff(now.as_secs() as i64) < 100);
        assert_eq!(dir.facts("Sub").unwrap().kind, Kind::Directory);
        assert_eq!(dir.facts("").unwrap().kind, Kind::Directory);
        assert_eq!(before, dir.facts("File.txt").unwrap());
        std::fs::write(tree.0.join("root\\File.txt"), "longer").unwrap();
        assert_ne!(before, dir.facts("File.txt").unwrap());
        assert_eq!(unix_time(TICKS_TO_1970), (0, 0));
        assert_eq!(unix_time(TICKS_TO_1970 - 1), (-1, 999_999_900));
    }

    #[test]
    fn lists_names_up_to_a_bound() {
        let tree = Tree::new();
        let dir = tree.dir();
        for n in 0..300 {
            let name = format!("a file with a rather long name, number {n}");
            std::fs::write(tree.0.join("root\\Sub").join(name), "").unwrap();
        }
        let (mut entries, more) = dir.list("", 10).unwrap();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let names: Vec<&str> = entries.iter().map(|entry| &*entry.name).collect();
        assert_eq!(names, ["File.txt", "Sub"]);
        assert!(!more && entries[1].facts.is_directory());
        let (entries, more) = dir.list("Sub/", 1_000).unwrap();
        assert_eq!((entries.len(), more), (301, false));
        let (entries, more) = dir.list("Sub/", 100).unwrap();
        assert_eq!((entries.len(), more), (100, true));
        assert!(dir.list("File.txt/", 10).is_err());
        assert!(dir.list("nothing/", 10).is_err());
    }

    #[test]
    fn tells_a_replaced_directory_from_the_same_one() {
        let tree = Tree::new();
        let (first, second) = (tree.dir(), tree.dir());
        assert!(first.is_same(&second));
        std::fs::create_dir(tree.0.join("other")).unwrap();
        assert!(!first.is_same(&Dir::open(&tree.0.join("other")).unwrap()));
        assert!(Dir::open(&tree.0.join("secret")).is_err());
    }
}
