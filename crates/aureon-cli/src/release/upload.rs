//! What of a release the host lacks, and the one stream in which it travels.
//!
//! The stream is a tar of plain files, named as the host names objects, which `tar` there unpacks
//! aside; nothing is believed before `sha256sum` has seen it. The manifest is an object too, and
//! the last file is empty and says that the stream is whole. A
//! file that became shorter since it was read ends the stream, and one with other content is found
//! by its hash there: a broken upload leaves nothing half.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};

use super::manifest::{Release, Source, object_path};
use crate::host::{Answer, Host, HostError};

/// Asks which of the objects on standard input are there: a line each of size and path.
const ASK: &str = "cd /opt/aureon/objects 2>/dev/null || exit 0
xargs -r stat -c '%s %n' 2>/dev/null || :
";

/// A content that travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object<'a> {
    /// Its bytes, or where they are.
    content: Content<'a>,
    /// Of its content.
    pub size: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content<'a> {
    Source(&'a Source),
    Manifest(&'a [u8]),
}

/// Contents by the path of their object.
pub type Objects<'a> = BTreeMap<String, Object<'a>>;

/// All contents of a release, each once.
#[must_use]
pub fn objects(release: &Release) -> Objects<'_> {
    let files = release.entries().iter().map(|entry| {
        let (content, size) = (Content::Source(&entry.source), entry.size);
        (entry.object(), Object { content, size })
    });
    let manifest = Object {
        content: Content::Manifest(release.manifest()),
        size: release.manifest().len() as u64,
    };
    let name = object_path(release.manifest_sha256(), false);
    files.chain([(name, manifest)]).collect()
}

/// What the host lacks: asked by one script, with all names on its standard input. An object whose
/// size is another one is damaged, and travels again.
///
/// # Errors
/// As [`Host::run`]; a script that fails is no answer.
pub fn lacking<'a>(host: &mut dyn Host, release: &'a Release) -> Result<Objects<'a>, HostError> {
    let mut wanted = objects(release);
    let names: String = wanted.keys().map(|name| format!("{name}\n")).collect();
    let answer = host.run(ASK, &mut names.as_bytes(), &mut |_| {})?;
    for name in present(&answer, &wanted) {
        wanted.remove(&name);
    }
    Ok(wanted)
}

fn present(answer: &Answer, wanted: &Objects<'_>) -> BTreeSet<String> {
    let lines = answer.stdout.lines();
    let pairs = lines.filter_map(|line| line.split_once(' '));
    let whole = pairs.filter(|(size, name)| {
        let object = wanted.get(*name);
        object.is_some_and(|object| size.parse() == Ok(object.size))
    });
    whole.map(|(_, name)| name.to_owned()).collect()
}

/// Bytes that travel for these contents, tar's own among them.
#[must_use]
pub fn stream_bytes(objects: &Objects<'_>) -> u64 {
    let of = |object: &Object<'_>| BLOCK + object.size.div_ceil(BLOCK) * BLOCK;
    objects.values().map(of).sum::<u64>() + 3 * BLOCK
}

/// tar's block: POSIX.1-1988.
const BLOCK: u64 = 512;

/// The stream; reading it reads the files. `told` hears how many bytes have been read so far.
pub struct Stream<'a> {
    left: std::collections::btree_map::IntoIter<String, Object<'a>>,
    /// What is sent now: a head, then content, then zeros.
    parts: Vec<Part<'a>>,
    sent: u64,
    told: Box<dyn FnMut(u64) + 'a>,
    ended: bool,
}

enum Part<'a> {
    Bytes(io::Cursor<Vec<u8>>),
    Slice(&'a [u8]),
    File(Box<io::Take<File>>, String),
}

impl<'a> Stream<'a> {
    /// Of these contents.
    pub fn new(objects: Objects<'a>, told: impl FnMut(u64) + 'a) -> Stream<'a> {
        Stream {
            left: objects.into_iter(),
            parts: Vec::new(),
            sent: 0,
            told: Box::new(told),
            ended: false,
        }
    }

    /// The next file's parts, last first; at the end the last file, and two empty blocks.
    fn begin_next(&mut self) -> io::Result<()> {
        let Some((name, object)) = self.left.next() else {
            self.ended = true;
            let mut end = tar_head("whole", 0).to_vec();
            end.resize(3 * BLOCK as usize, 0);
            self.parts.push(Part::Bytes(io::Cursor::new(end)));
            return Ok(());
        };
        let padding = object.size.div_ceil(BLOCK) * BLOCK - object.size;
        let zeros = vec![0; padding as usize];
        self.parts.push(Part::Bytes(io::Cursor::new(zeros)));
        self.parts.push(match object.content {
            Content::Manifest(bytes) => Part::Slice(bytes),
            Content::Source(Source::Bytes(bytes)) => Part::Slice(bytes),
            Content::Source(Source::File(path)) => {
                let file = File::open(path)?.take(object.size);
                Part::File(Box::new(file), path.display().to_string())
            }
        });
        let head = tar_head(&name, object.size).to_vec();
        self.parts.push(Part::Bytes(io::Cursor::new(head)));
        Ok(())
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let count = match self.parts.last_mut() {
                None if self.ended => return Ok(0),
                None => {
                    self.begin_next()?;
                    continue;
                }
                Some(Part::Bytes(bytes)) => bytes.read(buffer)?,
                Some(Part::Slice(bytes)) => bytes.read(buffer)?,
                Some(Part::File(file, name)) => match file.read(buffer)? {
                    0 if file.limit() > 0 => {
                        let what = format!("{name} has become shorter while it was deployed");
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
                    }
                    count => count,
                },
            };
            if count > 0 {
                self.sent += count as u64;
                (self.told)(self.sent);
                return Ok(count);
            }
            self.parts.pop();
        }
    }
}

/// A head of POSIX.1-1988 ("ustar"): a plain file of root's, without a time.
fn tar_head(name: &str, size: u64) -> [u8; BLOCK as usize] {
    let mut head = [0; BLOCK as usize];
    let mut put = |at: usize, text: &str| {
        head[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    put(0, name);
    put(
        100,
        if name.ends_with(".x") {
            "0000755"
        } else {
            "0000644"
        },
    );
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000000");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar");
    put(263, "00");
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    let text = format!("{sum:06o}\0 ");
    head[148..156].copy_from_slice(text.as_bytes());
    head
}
