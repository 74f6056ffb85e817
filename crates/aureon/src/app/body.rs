//! What a response carries: bytes in memory, a stretch of a file, a stream, or nothing yet.
//!
//! The variants are the ways the server can send; a handler seldom names them and writes
//! `Response::text("…")`. Framing is not decided here: [`Body::len`] tells the session whether
//! the length is known.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::later::LaterSlot;
use super::{BodyWriter, Fault, PipeReader, PipeWriter};

/// A producer of a streamed body; see [`Response::stream`](super::Response::stream).
pub type Producer = Box<dyn FnOnce(&mut BodyWriter) -> io::Result<()> + Send>;

/// The content of a response.
#[derive(Default)]
pub enum Body {
    /// No content.
    #[default]
    Empty,
    /// Bytes of the program itself: nothing is allocated or copied before sending.
    Static(&'static [u8]),
    /// Bytes made for this response.
    Bytes(Vec<u8>),
    /// Bytes shared between responses, such as a cached file.
    Shared(Arc<[u8]>),
    /// A stretch of a file, sent by the kernel.
    File(FileRange),
    /// Several pieces one after the other, such as the ranges of a `multipart/byteranges`.
    Parts(Vec<Part>),
    /// A stream that something else feeds.
    Stream(PipeReader),
    /// A stream whose producer has yet to be started on the pool.
    Run(Producer),
    /// The whole response comes later; status and fields of this one mean nothing.
    Later(LaterSlot),
}

/// A stretch of an open file. The bytes are read with positioned reads, so that many responses
/// may share the file.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// The file.
    pub file: Arc<File>,
    /// The first byte's offset.
    pub start: u64,
    /// How many bytes.
    pub len: u64,
}

/// One piece of [`Body::Parts`].
#[derive(Clone, Debug)]
pub enum Part {
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// A stretch of a file.
    File(FileRange),
}

impl Part {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Part::Bytes(bytes) => bytes.len() as u64,
            Part::File(range) => range.len,
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Body {
    /// The length in bytes, `None` for a stream (sent chunked) and for a late answer.
    #[inline]
    pub fn len(&self) -> Option<u64> {
        Some(match self {
            Body::Empty => 0,
            Body::Static(bytes) => bytes.len() as u64,
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Shared(bytes) => bytes.len() as u64,
            Body::File(range) => range.len,
            // A sum that overflows would need more bytes than any disk has.
            Body::Parts(parts) => parts
                .iter()
                .fold(0, |sum, part| part.len().saturating_add(sum)),
            Body::Stream(_) | Body::Run(_) | Body::Later(_) => return None,
        })
    }

    /// Whether it is known to have no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// The bytes, when all of them are in memory in one piece.
    #[inline]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Body::Empty => Some(&[]),
            Body::Static(bytes) => Some(bytes),
            Body::Bytes(bytes) => Some(bytes),
            Body::Shared(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Whether the response comes later.
    #[inline]
    pub fn is_later(&self) -> bool {
        matches!(self, Body::Later(_))
    }
}

/// Runs a producer on this thread until its last byte is in the pipe. A producer that errs or
/// panics fails the pipe, so that the peer sees a cut-off body and not a short one; the reason goes
/// with it for the log.
pub fn run_producer(producer: Producer, pipe: PipeWriter) {
    let mut writer = BodyWriter::new(pipe);
    // Unwind safe: the producer is consumed and the writer is only dropped after a panic.
    match catch_unwind(AssertUnwindSafe(|| producer(&mut writer))) {
        Ok(Ok(())) => writer.finish(),
        Ok(Err(error)) => writer.fail_because(Fault::error(error.to_string())),
        Err(payload) => writer.fail_because(Fault::panic(payload)),
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Body {
        Body::Static(text.as_bytes())
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Body {
        Body::Static(bytes)
    }
}

impl<const N: usize> From<&'static [u8; N]> for Body {
    fn from(bytes: &'static [u8; N]) -> Body {
        Body::Static(bytes)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Body {
        Body::Bytes(text.into_bytes())
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Body::Bytes(bytes)
    }
}

impl From<Cow<'static, str>> for Body {
    fn from(text: Cow<'static, str>) -> Body {
        match text {
            Cow::Borrowed(text) => Body::from(text),
            Cow::Owned(text) => Body::from(text),
        }
    }
}

impl From<Arc<[u8]>> for Body {
    fn from(bytes: Arc<[u8]>) -> Body {
        Body::Shared(bytes)
    }
}

impl From<FileRange> for Body {
    fn from(range: FileRange) -> Body {
        Body::File(range)
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Body::Empty => "Empty",
            Body::Static(_) => "Static",
            Body::Bytes(_) => "Bytes",
            Body::Shared(_) => "Shared",
            Body::File(_) => "File",
            Body::Parts(_) => "Parts",
            Body::Stream(_) => "Stream",
            Body::Run(_) => "Run",
            Body::Later(_) => "Later",
        };
        match self.len() {
            Some(len) => write!(f, "Body::{name}({len} bytes)"),
            None => write!(f, "Body::{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Pipe, Pull};
    use std::io::Write;

    #[test]
    fn a_body_in_memory_knows_its_length_and_a_stream_does_not() {
        assert_eq!(Body::Empty.len(), Some(0));
        assert_eq!(Body::from("abc").len(), Some(3));
        assert_eq!(
            Body::from(String::from("abcd")).as_bytes(),
            Some(&b"abcd"[..])
        );
        let parts = vec![Part::Bytes(vec![0; 3]), Part::Bytes(vec![0; 4])];
        assert_eq!(Body::Parts(parts).len(), Some(7));
        assert_eq!(Body::Stream(Pipe::new(1).1).len(), None);
    }

    #[test]
    fn a_producer_that_errs_or_panics_fails_the_pipe() {
        fn check(producer: Producer, ended: Pull, fault: Option<(&str, bool)>) {
            let (writer, mut reader) = Pipe::new(16);
            run_producer(producer, writer);
            let mut out = Vec::new();
            assert_eq!(reader.pull(&mut out, 16), Pull::Some(2));
            assert_eq!(reader.pull(&mut out, 16), ended);
            let told = reader.take_fault();
            let told = told
                .as_ref()
                .map(|fault| (fault.message(), fault.is_panic()));
            assert_eq!(told, fault);
        }
        check(Box::new(|out| out.write_all(b"ab")), Pull::End, None);
        let errs: Producer = Box::new(|out| {
            out.write_all(b"ab")?;
            Err(io::Error::other("the disk is gone"))
        });
        check(errs, Pull::Failed, Some(("the disk is gone", false)));
        let panics: Producer = Box::new(|out| {
            out.write_all(b"ab")?;
            panic!("on purpose");
        });
        check(panics, Pull::Failed, Some(("on purpose", true)));
    }
}
