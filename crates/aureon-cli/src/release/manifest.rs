//! The list of a release's files, made from directories of this machine.
//!
//! Owns what belongs to a release and what does not, the bounds, and the release's name. The same
//! content and configuration give the same list, byte for byte, on every system: files are sorted,
//! times and owners are not in it, and whether a file may be run is read from its content. Links
//! are followed as long as they stay inside; what they lead to travels. Called before anything is
//! done on the host; nothing here changes a file.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aureon::files::mime::is_hashed;
use sha2::{Digest, Sha256};

use crate::limits;
use crate::wanted::{Serves, Socket, Wanted};

/// The first line of a manifest: what it is, and of which form.
const FIRST_LINE: &str = "aureon-release 1";

/// A list of files that is whole: each has been read and has its hash.
#[derive(Debug, Clone)]
pub struct Release {
    app: String,
    manifest: Vec<u8>,
    hash: String,
    entries: Vec<Entry>,
    left_out: Vec<String>,
}

/// A file of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Within the release, with `/`: `site/index.html`.
    pub path: String,
    /// Where its content is.
    pub source: Source,
    /// 0755 on the host, else 0644.
    pub executable: bool,
    /// Of its content.
    pub size: u64,
    /// Of its content, in hexadecimal digits.
    pub sha256: String,
}

/// Where the content of a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file of this machine.
    File(PathBuf),
    /// Made here.
    Bytes(Vec<u8>),
}

/// Why there is no release.
#[derive(Debug)]
pub enum ReleaseError {
    /// The file can not be read.
    Unreadable(PathBuf, io::Error),
    /// A link that leads out of the directory that is deployed, or nowhere.
    Outside(PathBuf),
    /// A name that can not be on the host, and why.
    Name(PathBuf, &'static str),
    /// More than a bound: what, and how much it may be.
    TooMuch(&'static str, u64),
    /// The same path from two places.
    Twice(String),
    /// The program that the command names is not among the files, or can not be run.
    Command(String, &'static str),
    /// There is nothing in it.
    Empty(PathBuf),
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => {
                write!(f, "{} can not be read: {error}", path.display())
            }
            Self::Outside(path) => write!(
                f,
                "{} is a link that leads out of what is deployed, or nowhere",
                path.display()
            ),
            Self::Name(path, why) => write!(f, "{path:?} can not be deployed: {why}"),
            Self::TooMuch(what, most) => write!(f, "the release has more than {most} {what}"),
            Self::Twice(path) => write!(f, "`{path}` is in the release twice"),
            Self::Command(word, why) => write!(f, "the command's program `{word}` {why}"),
            Self::Empty(path) => write!(f, "{} has nothing to deploy", path.display()),
        }
    }
}

impl std::error::Error for ReleaseError {}

impl Release {
    /// Reads what is wanted. `aureond` is the program that serves a site on the host.
    ///
    /// # Errors
    /// Something in it can not be read or can not be on the host; it is named.
    pub fn read(wanted: &Wanted, aureond: &Path) -> Result<Release, ReleaseError> {
        let mut gathered = Gathered::default();
        match &wanted.serves {
            Serves::Site {
                root,
                configuration,
            } => {
                gathered.add_tree(root, "site")?;
                if gathered.entries.is_empty() {
                    return Err(ReleaseError::Empty(root.clone()));
                }
                gathered.add_bytes("aureon.toml", configuration.clone().into_bytes())?;
                gathered.add_file(aureond, "bin/aureond")?;
            }
            Serves::Program { command, files, .. } => {
                for file in files {
                    gathered.add_named(&wanted.directory, file)?;
                }
                gathered.check_command(command)?;
            }
        }
        gathered.finish(&wanted.app, &configuration_of(wanted))
    }

    /// The name of this release if it is made at `unix_seconds`:
    /// `blog-20261125T124640Z-3f9a2b1c0d4e`. What follows the time is the same for the same
    /// content.
    #[must_use]
    pub fn id(&self, unix_seconds: u64) -> String {
        format!("{}-{}-{}", self.app, show_time(unix_seconds), self.mark())
    }

    /// The part of the name that stands for the content: 12 digits of the manifest's hash.
    #[must_use]
    pub fn mark(&self) -> &str {
        &self.hash[..12]
    }

    /// Whether a release of this name on the host has the same content.
    #[must_use]
    pub fn is(&self, id: &str) -> bool {
        application_of(id) == Some(&self.app) && id.ends_with(self.mark())
    }

    /// The SHA-256 of the manifest, which is an object as the files are.
    #[must_use]
    pub fn manifest_sha256(&self) -> &str {
        &self.hash
    }

    /// The manifest: a line each of `mode size sha256 hashed path`, behind what it is of.
    #[must_use]
    pub fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    /// Sorted by path.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Files that are there and do not travel, with the reason; the first so many.
    #[must_use]
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.size).sum()
    }
}

impl Entry {
    /// The object's path below `objects`. Links share one mode, so a content that may be run is
    /// another object than the same content that may not.
    #[must_use]
    pub fn object(&self) -> String {
        object_path(&self.sha256, self.executable)
    }
}

/// `ab/cdef…`, with `.x` behind it if it may be run.
pub(crate) fn object_path(sha256: &str, executable: bool) -> String {
    let (first, rest) = sha256.split_at(2);
    format!("{first}/{rest}{}", if executable { ".x" } else { "" })
}

/// The application that a release's name begins with, if it is the name of one.
#[must_use]
pub fn application_of(id: &str) -> Option<&str> {
    let (rest, mark) = id.rsplit_once('-')?;
    let (app, time) = rest.rsplit_once('-')?;
    let is_mark = mark.len() == 12
        && mark
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_time = time.len() == 16
        && time.bytes().enumerate().all(|(at, byte)| match at {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    (is_mark && is_time && !app.is_empty()).then_some(app)
}

/// What changes how a release runs without being one of its files, in one form for one meaning.
fn configuration_of(wanted: &Wanted) -> String {
    let mut out = String::new();
    if let Serves::Program {
        command, socket, ..
    } = &wanted.serves
    {
        out.push_str(&format!("command {command:?}\n"));
        out.push_str(match socket {
            Socket::Inherited => "socket inherited\n",
            Socket::Port => "socket port\n",
        });
    }
    let mut environment: Vec<_> = wanted.environment.iter().collect();
    environment.sort();
    for (name, value) in environment {
        out.push_str(&format!("environment {name:?} {value:?}\n"));
    }
    out
}

/// `20261125T124640Z`.
fn show_time(unix_seconds: u64) -> String {
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Year, month and day of a day since 1970: years that begin in March, in eras of 400, as Howard
/// Hinnant's `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Files so far.
#[derive(Default)]
struct Gathered {
    entries: Vec<Entry>,
    /// Directories that are being read, by their real names: a link to one of them has no end.
    above: Vec<PathBuf>,
    left_out: Vec<String>,
    bytes: u64,
}

impl Gathered {
    fn leave_out(&mut self, path: &str, why: &str) {
        if self.left_out.len() < limits::RELEASE_LEFT_OUT_MAX {
            self.left_out.push(format!("{path} ({why})"));
        }
    }

    /// A directory with all that belongs to it, as `place` of the release.
    fn add_tree(&mut self, root: &Path, place: &str) -> Result<(), ReleaseError> {
        let real = real(root)?;
        self.above = vec![real.clone()];
        self.add_directory(&real, root, place, 0)
    }

    /// A file or directory that the user names, at the same place in the release.
    fn add_named(&mut self, directory: &Path, file: &Path) -> Result<(), ReleaseError> {
        let root = real(directory)?;
        let full = directory.join(file);
        let target = inside(&root, &full)?;
        let relative = target.strip_prefix(&root);
        let named = file.is_relative().then_some(file);
        let place = portable(named.unwrap_or(relative.unwrap_or(file)))?;
        if target.is_dir() {
            self.above = vec![target];
            return self.add_directory(&root, &full, &place, 0);
        }
        self.add_file(&full, &place)
    }

    fn add_directory(
        &mut self,
        root: &Path,
        directory: &Path,
        place: &str,
        depth: usize,
    ) -> Result<(), ReleaseError> {
        if depth > limits::RELEASE_DEPTH_MAX {
            return Err(ReleaseError::TooMuch(
                "directories in directories",
                limits::RELEASE_DEPTH_MAX as u64,
            ));
        }
        let unreadable = |error| ReleaseError::Unreadable(directory.to_owned(), error);
        let mut names = Vec::new();
        for entry in fs::read_dir(directory).map_err(unreadable)? {
            names.push(entry.map_err(unreadable)?.file_name());
            if names.len() > limits::RELEASE_FILES_MAX {
                return Err(ReleaseError::TooMuch(
                    "files",
                    limits::RELEASE_FILES_MAX as u64,
                ));
            }
        }
        names.sort();
        for name in names {
            let path = directory.join(&name);
            let Some(name) = name.to_str() else {
                return Err(ReleaseError::Name(path, "its name is not UTF-8"));
            };
            let within = if place.is_empty() {
                name.to_owned()
            } else {
                format!("{place}/{name}")
            };
            if let Some(why) = excluded(name) {
                self.leave_out(&within, why);
                continue;
            }
            let target = inside(root, &path)?;
            let kind = fs::metadata(&target)
                .map_err(|error| ReleaseError::Unreadable(path.clone(), error))?;
            if kind.is_dir() {
                if self.above.contains(&target) {
                    return Err(ReleaseError::Name(path, "it leads to a directory it is in"));
                }
                self.above.push(target);
                self.add_directory(root, &path, &within, depth + 1)?;
                self.above.pop();
            } else if kind.is_file() {
                self.add_file(&path, &within)?;
            } else {
                self.leave_out(&within, "neither a file nor a directory");
            }
        }
        Ok(())
    }

    fn add_file(&mut self, path: &Path, place: &str) -> Result<(), ReleaseError> {
        check_name(path, place)?;
        let unreadable = |error| ReleaseError::Unreadable(path.to_owned(), error);
        let mut file = File::open(path).map_err(unreadable)?;
        let mut hash = Sha256::new();
        let mut head = Vec::new();
        let (mut size, mut buffer) = (0u64, vec![0; 64 << 10]);
        loop {
            let count = file.read(&mut buffer).map_err(unreadable)?;
            if count == 0 {
                break;
            }
            size += count as u64;
            if self.bytes + size > limits::RELEASE_BYTES_MAX {
                return Err(ReleaseError::TooMuch("bytes", limits::RELEASE_BYTES_MAX));
            }
            if head.len() < 4 {
                head.extend(buffer[..count].iter().take(4));
            }
            hash.update(&buffer[..count]);
        }
        let sha256 = show_digest(hash);
        self.push(Entry {
            path: place.to_owned(),
            source: Source::File(path.to_owned()),
            executable: is_program(&head),
            size,
            sha256,
        })
    }

    fn add_bytes(&mut self, place: &str, bytes: Vec<u8>) -> Result<(), ReleaseError> {
        let mut hash = Sha256::new();
        hash.update(&bytes);
        self.push(Entry {
            path: place.to_owned(),
            executable: false,
            size: bytes.len() as u64,
            sha256: show_digest(hash),
            source: Source::Bytes(bytes),
        })
    }

    fn push(&mut self, entry: Entry) -> Result<(), ReleaseError> {
        if self.entries.len() == limits::RELEASE_FILES_MAX {
            return Err(ReleaseError::TooMuch(
                "files",
                limits::RELEASE_FILES_MAX as u64,
            ));
        }
        self.bytes += entry.size;
        if self.bytes > limits::RELEASE_BYTES_MAX {
            return Err(ReleaseError::TooMuch("bytes", limits::RELEASE_BYTES_MAX));
        }
        self.entries.push(entry);
        Ok(())
    }

    fn check_command(&self, command: &[String]) -> Result<(), ReleaseError> {
        let program = command.first().map_or("", String::as_str);
        let place = portable(Path::new(program))?;
        let fails = |why| Err(ReleaseError::Command(program.to_owned(), why));
        match self.entries.iter().find(|entry| entry.path == place) {
            None => fails("is not among the files of the release"),
            Some(entry) if !entry.executable => {
                fails("is neither an ELF program nor a script that begins with #!")
            }
            Some(_) => Ok(()),
        }
    }

    fn finish(mut self, app: &str, configuration: &str) -> Result<Release, ReleaseError> {
        self.entries.sort_by(|a, b| a.path.cmp(&b.path));
        let mut pairs = self.entries.windows(2);
        if let Some(pair) = pairs.find(|pair| pair[0].path == pair[1].path) {
            return Err(ReleaseError::Twice(pair[0].path.clone()));
        }
        let mut digest = Sha256::new();
        digest.update(configuration.as_bytes());
        let mut manifest = format!(
            "{FIRST_LINE}\napp {app}\nconfiguration {}\n",
            show_digest(digest)
        );
        for entry in &self.entries {
            let mode = if entry.executable { "755" } else { "644" };
            // Only what is served has a Cache-Control.
            let hashed = entry.path.starts_with("site/") && is_hashed(&entry.path);
            let hashed = if hashed { "h" } else { "-" };
            let (size, sha256, path) = (entry.size, &entry.sha256, &entry.path);
            manifest.push_str(&format!("{mode} {size} {sha256} {hashed} {path}\n"));
        }
        let mut hash = Sha256::new();
        hash.update(manifest.as_bytes());
        Ok(Release {
            app: app.to_owned(),
            manifest: manifest.into_bytes(),
            hash: show_digest(hash),
            entries: self.entries,
            left_out: self.left_out,
        })
    }
}

/// Why a name does not travel: aureond would not serve it, or it is not meant for a server.
fn excluded(name: &str) -> Option<&'static str> {
    match name {
        ".well-known" => None,
        "node_modules" => Some("what a build needs"),
        _ if name.starts_with('.') => Some("hidden"),
        _ => None,
    }
}

/// The name that everything below it has for the system, without links.
fn real(path: &Path) -> Result<PathBuf, ReleaseError> {
    fs::canonicalize(path).map_err(|error| ReleaseError::Unreadable(path.to_owned(), error))
}

/// Where `path` really is, if that is in `root`.
fn inside(root: &Path, path: &Path) -> Result<PathBuf, ReleaseError> {
    match fs::canonicalize(path) {
        Ok(target) if target.starts_with(root) => Ok(target),
        Ok(_) => Err(ReleaseError::Outside(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
            Err(ReleaseError::Outside(path.to_owned()))
        }
        Err(error) => Err(ReleaseError::Unreadable(path.to_owned(), error)),
    }
}

/// A relative path with `/`, without `.`.
fn portable(path: &Path) -> Result<String, ReleaseError> {
    use std::path::Component;
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => match name.to_str() {
                Some(name) => parts.push(name),
                None => {
                    return Err(ReleaseError::Name(path.to_owned(), "its name is not UTF-8"));
                }
            },
            _ => return Err(ReleaseError::Outside(path.to_owned())),
        }
    }
    Ok(parts.join("/"))
}

/// The manifest has a line for each file and is read by a shell.
fn check_name(path: &Path, place: &str) -> Result<(), ReleaseError> {
    let refuse = |why| Err(ReleaseError::Name(path.to_owned(), why));
    let name = place.rsplit('/').next().unwrap_or(place);
    if place.is_empty() || name.is_empty() {
        return refuse("it has no name");
    }
    if place.chars().any(char::is_control) {
        return refuse("its name has a control character");
    }
    if place.ends_with(' ') {
        return refuse("its name ends in a space");
    }
    if place.contains('\\') {
        return refuse("its name has a backslash, which divides names on Windows");
    }
    if name.len() > limits::RELEASE_NAME_BYTES_MAX {
        return refuse("its name has more than 255 bytes");
    }
    if place.len() > limits::RELEASE_PATH_BYTES_MAX {
        return refuse("its path has more than 1,000 bytes");
    }
    Ok(())
}

/// A program for Linux, or a script that names what runs it.
fn is_program(head: &[u8]) -> bool {
    head.starts_with(b"\x7fELF") || head.starts_with(b"#!")
}

pub(crate) fn show_digest(hash: Sha256) -> String {
    let mut out = String::with_capacity(64);
    for byte in hash.finalize() {
        out.push_str(&format!("{byte:02x}"));
    }
    out
}
