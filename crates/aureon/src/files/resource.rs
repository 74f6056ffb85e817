//! What a path leads to: a resource and its representations (RFC 9110 §3.1, §3.2).
//!
//! Owns reading a file and its precompressed siblings, their entity tags and prepared field
//! lines, and the question whether all of that still holds. A resource is immutable but for
//! representations being read when they are first asked for; a change makes a new one.
//!
//! A file small enough to be held is a snapshot, and its tag a hash of its content. A larger one
//! stays a descriptor, and its tag is made of what the file system says: length, inode, and the
//! nanoseconds of its last modification and last change. The latter cannot be set by a program,
//! so this is as strong as the file system's clock, and while the change is so fresh that a
//! second one could fall into the same tick the tag is marked weak (§8.8.1).

use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use super::conditional::Validators;
use super::encoding::Coding;
use super::mime;
use super::range::Range;
use crate::app::{Body, FileRange, Part, Prepared, prepare_fields};
use crate::http::date::write_date;
use crate::limits;
use crate::sys::dir::{Dir, Facts, Fault, Kind};

/// Seconds after which no further change can share a file's time stamp. 2: FAT counts in twos,
/// every other file system is finer.
const SETTLED_S: u64 = 2;

/// How resources are to be made; the same for all of one `Files`.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    /// `Cache-Control` for everything; `None` chooses by type and name.
    pub(super) cache_control: Option<String>,
    /// Whether siblings such as `app.js.br` stand for `app.js`.
    pub(super) precompressed: bool,
}

/// Where the bytes are.
#[derive(Debug)]
enum Content {
    Static(&'static [u8]),
    Shared(Arc<[u8]>),
    File(Arc<File>, Facts),
}

/// One representation: bytes, validators, and the lines that describe them.
#[derive(Debug)]
pub(super) struct Representation {
    content: Content,
    len: u64,
    content_type: &'static str,
    coding: Coding,
    etag: String,
    modified: Option<u64>,
    full: Prepared,
    bare: Prepared,
}

impl Representation {
    /// Bytes in all.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn content_type(&self) -> &'static str {
        self.content_type
    }

    pub(super) fn coding(&self) -> Coding {
        self.coding
    }

    /// Every field line of a 200.
    pub(super) fn full_lines(&self) -> Prepared {
        self.full.clone()
    }

    /// The lines without those that describe the content: for 304, 412 and multipart answers.
    pub(super) fn bare_lines(&self) -> Prepared {
        self.bare.clone()
    }

    /// The validators; `now_s` tells how far back the modification lies.
    pub(super) fn validators(&self, now_s: u64) -> Validators<'_> {
        let is_settled = |modified: u64| modified.saturating_add(SETTLED_S) <= now_s;
        Validators {
            etag: &self.etag,
            modified: self.modified,
            modified_is_strong: self.modified.is_some_and(is_settled),
        }
    }

    /// All of it.
    pub(super) fn body(&self) -> Body {
        match &self.content {
            Content::Static(bytes) => Body::Static(bytes),
            Content::Shared(bytes) => Body::Shared(Arc::clone(bytes)),
            Content::File(file, _) => Body::File(FileRange {
                file: Arc::clone(file),
                start: 0,
                len: self.len,
            }),
        }
    }

    /// A part of it. The range lies inside: it was parsed against [`Representation::len`].
    pub(super) fn part(&self, range: Range) -> Part {
        let bytes: &[u8] = match &self.content {
            Content::Static(bytes) => bytes,
            Content::Shared(bytes) => bytes,
            Content::File(file, _) => {
                let (start, len) = (range.start, range.len);
                return Part::File(FileRange {
                    file: Arc::clone(file),
                    start,
                    len,
                });
            }
        };
        let start = range.start as usize;
        Part::Bytes(
            bytes
                .get(start..start + range.len as usize)
                .unwrap_or_default()
                .to_vec(),
        )
    }

    /// Whether the open file behind it has been written to since. A snapshot never has.
    pub(super) fn has_changed(&self) -> bool {
        match &self.content {
            Content::File(file, facts) => Facts::of(file).map_or(true, |now| now != *facts),
            Content::Static(_) | Content::Shared(_) => false,
        }
    }
}

/// One coding of a resource: what was seen of its file, and its content once it was asked for.
#[derive(Debug, Default)]
struct Variant {
    /// As found, whether it may be used or not: a change of it is a change of the resource.
    seen: Option<Facts>,
    is_usable: bool,
    loaded: OnceLock<Representation>,
}

/// A file and its precompressed siblings.
#[derive(Debug)]
pub(super) struct Resource {
    path: String,
    variants: [Variant; Coding::COUNT],
    /// Whether a change after reading would have to show in the facts.
    is_settled: bool,
    varies: bool,
    checked_ms: AtomicU64,
    used_s: AtomicU64,
}

impl Resource {
    /// Looks at a file and its siblings; `None` when the path leads to no regular file. Reads
    /// nothing yet.
    pub(super) fn find(dir: &Dir, path: &str, policy: &Policy) -> io::Result<Option<Resource>> {
        let facts = dir.facts(path)?;
        if facts.kind != Kind::File {
            return Ok(None);
        }
        let mut variants: [Variant; Coding::COUNT] = Default::default();
        let mut is_settled = is_settled(&facts, unix_seconds());
        variants[Coding::Identity.index()] = Variant {
            seen: Some(facts),
            is_usable: true,
            loaded: OnceLock::new(),
        };
        for coding in siblings(policy) {
            let seen = sibling(dir, path, coding);
            // One that is older than the original was made from an earlier state of it.
            let is_usable = seen.is_some_and(|seen| {
                seen.kind == Kind::File && modified_at(&seen) >= modified_at(&facts)
            });
            is_settled &= seen.is_none_or(|seen| self::is_settled(&seen, unix_seconds()));
            variants[coding.index()] = Variant {
                seen,
                is_usable,
                loaded: OnceLock::new(),
            };
        }
        Ok(Some(Resource::new(path, variants, is_settled)))
    }

    /// A resource compiled into the program; `bytes_of` gives the assets by path.
    pub(super) fn embedded(
        path: &str,
        bytes_of: impl Fn(&str) -> Option<&'static [u8]>,
        policy: &Policy,
    ) -> Option<Resource> {
        let mut found: [Option<&'static [u8]>; Coding::COUNT] = [None; Coding::COUNT];
        found[Coding::Identity.index()] = Some(bytes_of(path)?);
        for coding in siblings(policy) {
            found[coding.index()] = bytes_of(&format!("{path}{}", coding.suffix()));
        }
        let varies = found.iter().flatten().count() > 1;
        let mut variants: [Variant; Coding::COUNT] = Default::default();
        for coding in Coding::ALL {
            let Some(bytes) = found[coding.index()] else {
                continue;
            };
            let content = Content::Static(bytes);
            let etag = etag(hash(bytes), coding, true);
            let made = represent(path, coding, content, (etag, None), policy, varies);
            let loaded = OnceLock::from(made);
            variants[coding.index()] = Variant {
                seen: None,
                is_usable: true,
                loaded,
            };
        }
        Some(Resource::new(path, variants, true))
    }

    fn new(path: &str, variants: [Variant; Coding::COUNT], is_settled: bool) -> Resource {
        Resource {
            path: path.to_owned(),
            varies: variants.iter().filter(|variant| variant.is_usable).count() > 1,
            variants,
            is_settled,
            checked_ms: AtomicU64::new(0),
            used_s: AtomicU64::new(0),
        }
    }

    /// The file's path below the root.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Whether there is a choice of codings, so that the answer depends on `Accept-Encoding`.
    pub(super) fn varies(&self) -> bool {
        self.varies
    }

    /// Whether this coding may be chosen.
    pub(super) fn has(&self, coding: Coding) -> bool {
        self.variants[coding.index()].is_usable
    }

    /// Whether something by this coding's name is there, of use or not.
    pub(super) fn saw(&self, coding: Coding) -> bool {
        let variant = &self.variants[coding.index()];
        variant.is_usable || variant.seen.is_some()
    }

    /// The representation in a coding, if it has been read.
    pub(super) fn loaded(&self, coding: Coding) -> Option<&Representation> {
        self.variants[coding.index()].loaded.get()
    }

    /// Reads the representation in a coding, unless that was done before.
    pub(super) fn load(&self, dir: &Dir, coding: Coding, policy: &Policy) -> io::Result<()> {
        let variant = &self.variants[coding.index()];
        if variant.loaded.get().is_some() {
            return Ok(());
        }
        let name = format!("{}{}", self.path, coding.suffix());
        let (file, facts) = dir.open_beneath(&name)?;
        if facts.kind != Kind::File {
            return Err(io::ErrorKind::NotFound.into());
        }
        let now_s = unix_seconds();
        // RFC 9110 §8.8.2.1: never later than the message's own date.
        let modified = u64::try_from(facts.modified_s).unwrap_or(0).min(now_s);
        let (content, tag) = if facts.len <= limits::SMALL_FILE_BYTES_MAX {
            // A file that grows meanwhile is cut at the length it had.
            let mut bytes = vec![0; facts.len as usize];
            let length = fill(&file, &mut bytes)?;
            bytes.truncate(length);
            let tag = etag(hash(&bytes), coding, true);
            (Content::Shared(Arc::from(bytes)), tag)
        } else {
            let tag = etag(hash_of_facts(&facts), coding, is_settled(&facts, now_s));
            (Content::File(Arc::new(file), facts), tag)
        };
        let validators = (tag, Some(modified));
        let made = represent(&self.path, coding, content, validators, policy, self.varies);
        // Another worker may have been faster; then its reading is as good.
        let _ = variant.loaded.set(made);
        Ok(())
    }

    /// Whether the files are still what they were when they were found. A machine out of
    /// descriptors cannot tell, and then what is at hand goes on being served.
    pub(super) fn still_holds(&self, dir: &Dir, policy: &Policy) -> bool {
        let identity = match dir.facts(&self.path) {
            Ok(facts) => Some(facts),
            Err(error) if Fault::of(&error) == Fault::Exhausted => return true,
            Err(_) => None,
        };
        self.is_settled
            && self.variants[Coding::Identity.index()].seen == identity
            && siblings(policy).all(|coding| {
                self.variants[coding.index()].seen == sibling(dir, &self.path, coding)
            })
    }

    /// Bytes of memory it takes when everything is read, more or less.
    pub(super) fn cost_bytes(&self) -> usize {
        let bodies = self
            .usable_lengths()
            .filter(|len| *len <= limits::SMALL_FILE_BYTES_MAX);
        // Field lines, tags and the maps' own entries: about 400 bytes a variant.
        bodies.map(|len| len as usize + 400).sum::<usize>() + 2 * self.path.len() + 400
    }

    /// Descriptors it keeps when everything is read.
    pub(super) fn cost_descriptors(&self) -> usize {
        self.usable_lengths()
            .filter(|len| *len > limits::SMALL_FILE_BYTES_MAX)
            .count()
    }

    /// Whether it may be kept: none of its files is so large that its space must come free as
    /// soon as it is deleted.
    pub(super) fn is_keepable(&self) -> bool {
        self.usable_lengths()
            .all(|len| len <= limits::KEPT_FILE_BYTES_MAX)
    }

    fn usable_lengths(&self) -> impl Iterator<Item = u64> {
        let usable = self.variants.iter().filter(|variant| variant.is_usable);
        usable.filter_map(|variant| variant.seen.map(|seen| seen.len))
    }

    /// Notes that it was asked for; in whole seconds, so that a hot entry's cache line is
    /// written once a second.
    pub(super) fn touch(&self, now_ms: u64) {
        let now_s = now_ms / 1_000;
        if self.used_s.load(Ordering::Relaxed) != now_s {
            self.used_s.store(now_s, Ordering::Relaxed);
        }
    }

    /// The second of the last use.
    pub(super) fn used_s(&self) -> u64 {
        self.used_s.load(Ordering::Relaxed)
    }

    /// Notes that the file system was asked.
    pub(super) fn mark_checked(&self, now_ms: u64) {
        self.checked_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Whether the caller is the one to ask the file system now: the trust has run out, and no
    /// other worker is asking.
    pub(super) fn is_due(&self, now_ms: u64, trust_ms: u64) -> bool {
        let checked_ms = self.checked_ms.load(Ordering::Relaxed);
        now_ms >= checked_ms.saturating_add(trust_ms)
            && (trust_ms == 0
                || self
                    .checked_ms
                    .compare_exchange(checked_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok())
    }
}

fn siblings(policy: &Policy) -> impl Iterator<Item = Coding> {
    let count = if policy.precompressed {
        Coding::COMPRESSED.len()
    } else {
        0
    };
    Coding::COMPRESSED.into_iter().take(count)
}

fn sibling(dir: &Dir, path: &str, coding: Coding) -> Option<Facts> {
    dir.facts(&format!("{path}{}", coding.suffix())).ok()
}

/// Reads until `bytes` are full or the file is at its end, and says how many it read.
fn fill(mut file: &File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match file.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

fn modified_at(facts: &Facts) -> (i64, i64) {
    (facts.modified_s, facts.modified_ns)
}

fn is_settled(facts: &Facts, now_s: u64) -> bool {
    let newest = facts.modified_s.max(facts.changed_s);
    u64::try_from(newest).unwrap_or(0).saturating_add(SETTLED_S) <= now_s
}

/// Seconds since 1970 on the machine's clock.
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn represent(
    path: &str,
    coding: Coding,
    content: Content,
    (etag, modified): (String, Option<u64>),
    policy: &Policy,
    varies: bool,
) -> Representation {
    let content_type = mime::content_type(path);
    let automatic = || mime::caching(path, content_type).0;
    let cache_control = policy.cache_control.as_deref().unwrap_or_else(automatic);
    let date = modified.map(write_date);
    let mut fields: Vec<(&str, &[u8])> = vec![("ETag", etag.as_bytes())];
    if let Some(date) = &date {
        fields.push(("Last-Modified", date));
    }
    fields.push(("Cache-Control", cache_control.as_bytes()));
    if varies {
        fields.push(("Vary", b"Accept-Encoding"));
    }
    fields.push(("Accept-Ranges", b"bytes"));
    let bare = prepare_fields(fields.iter().copied());
    fields.insert(0, ("Content-Type", content_type.as_bytes()));
    if coding != Coding::Identity {
        fields.insert(1, ("Content-Encoding", coding.name().as_bytes()));
    }
    let full = prepare_fields(fields.iter().copied());
    let len = match &content {
        Content::Static(bytes) => bytes.len() as u64,
        Content::Shared(bytes) => bytes.len() as u64,
        Content::File(_, facts) => facts.len,
    };
    Representation {
        content,
        len,
        content_type,
        coding,
        etag,
        modified,
        full,
        bare,
    }
}

/// An entity tag. The coding is part of it, so that variants differ even when their bytes or
/// facts should not.
fn etag(hash: u64, coding: Coding, is_strong: bool) -> String {
    let weak = if is_strong { "" } else { "W/" };
    match coding {
        Coding::Identity => format!("{weak}\"{hash:016x}\""),
        _ => format!("{weak}\"{hash:016x}-{}\"", coding.name()),
    }
}

/// FNV-1a, 64 bits (RFC 9923): the same on every machine and in every release, so that several
/// hosts and the next version agree. Nobody gains by a collision with their own file.
fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

fn hash_of_facts(facts: &Facts) -> u64 {
    let numbers = [
        facts.len,
        facts.inode,
        facts.modified_s.cast_unsigned(),
        facts.modified_ns.cast_unsigned(),
        facts.changed_s.cast_unsigned(),
        facts.changed_ns.cast_unsigned(),
    ];
    let bytes: Vec<u8> = numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    hash(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        cache_control: None,
        precompressed: true,
    };

    #[test]
    fn hashes_as_published() {
        // Test vectors of RFC 9923 and of the authors' page.
        assert_eq!(hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn tags_are_quoted_and_differ_by_coding_and_strength() {
        assert_eq!(etag(1, Coding::Identity, true), "\"0000000000000001\"");
        assert_eq!(etag(1, Coding::Brotli, true), "\"0000000000000001-br\"");
        assert_eq!(etag(1, Coding::Gzip, false), "W/\"0000000000000001-gzip\"");
    }

    #[test]
    fn a_fresh_change_is_not_settled_and_an_old_one_is() {
        let facts = Facts {
            kind: Kind::File,
            len: 1,
            modified_s: 100,
            modified_ns: 0,
            changed_s: 200,
            changed_ns: 0,
            inode: 1,
            device: 1,
        };
        assert!(!is_settled(&facts, 200));
        assert!(!is_settled(&facts, 201));
        assert!(is_settled(&facts, 202));
        // A clock that was set back makes it fresh, which costs reading it again.
        assert!(!is_settled(&facts, 50));
        let other = Facts {
            changed_ns: 1,
            ..facts
        };
        assert_ne!(hash_of_facts(&facts), hash_of_facts(&other));
    }

    #[test]
    fn an_embedded_resource_prepares_its_lines_for_each_coding() {
        let assets = |path: &str| match path {
            "a.html" => Some(&b"<p>"[..]),
            "a.html.gz" => Some(&b"gz"[..]),
            _ => None,
        };
        let resource = Resource::embedded("a.html", assets, &POLICY).expect("it is there");
        assert!(resource.has(Coding::Gzip) && !resource.has(Coding::Brotli));
        let gzip = resource.loaded(Coding::Gzip).expect("read at once");
        let tag = etag(hash(b"gz"), Coding::Gzip, true);
        let lines = format!(
            "Content-Type: text/html; charset=utf-8\r\nContent-Encoding: gzip\r\nETag: {tag}\r\n\
             Cache-Control: no-cache\r\nVary: Accept-Encoding\r\nAccept-Ranges: bytes\r\n"
        );
        assert_eq!(String::from_utf8_lossy(gzip.full_lines().lines()), lines);
        let bare = gzip.bare_lines();
        assert!(!String::from_utf8_lossy(bare.lines()).contains("Content-"));
        assert!(Resource::embedded("b.html", assets, &POLICY).is_none());
    }

    #[test]
    fn one_worker_at_a_time_asks_the_file_system() {
        let resource = Resource::new("a", Default::default(), true);
        resource.mark_checked(5_000);
        assert!(!resource.is_due(5_999, 1_000));
        assert!(resource.is_due(6_000, 1_000));
        assert!(
            !resource.is_due(6_000, 1_000),
            "another one has just begun to ask"
        );
        assert!(resource.is_due(6_000, 0), "without trust everyone asks");
    }
}
