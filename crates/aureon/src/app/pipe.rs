//! A bounded byte pipe between a thread, which may block, and a worker, which must not.
//!
//! Streamed answers flow from a thread to the worker, uploads from the worker to a thread; one
//! type serves both, because each end has a blocking face (`io::Read`, `io::Write`) and one that
//! never blocks ([`PipeReader::pull`], [`PipeWriter::push`]). Back-pressure is the bound: a full
//! pipe stops its writer. An end that must not block binds a [`Notify`] and is told when the
//! other end made progress. A writer dropped without [`PipeWriter::finish`] has failed, so a
//! truncated body is never taken for a whole one.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Fault;
use crate::limits::PIPE_BYTES;

/// Tells a worker that something it waits for has happened. The server's mailbox implements it.
pub trait Notify: Send + Sync {
    /// `key` is what the worker bound; called from any thread, never under a lock of ours.
    fn notify(&self, key: u64);
}

/// What [`PipeReader::pull`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// That many bytes were appended, at least one.
    Some(usize),
    /// Nothing now; the bound [`Notify`] is called when that changes.
    Pending,
    /// The writer finished and everything was read.
    End,
    /// The writer failed or was dropped unfinished; what came is not the whole.
    Failed,
}

/// What [`PipeWriter::push`] could do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// That many bytes were taken, at least one unless none were offered.
    Taken(usize),
    /// No room now; the bound [`Notify`] is called when that changes.
    Full,
    /// The reader is gone: nobody wants the rest.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    Open,
    Finished,
    Failed(io::ErrorKind),
}

struct State {
    bytes: VecDeque<u8>,
    capacity: usize,
    writer: Writer,
    /// Why the writer failed, if it said so.
    fault: Option<Box<Fault>>,
    reader_gone: bool,
    /// The reader would like the writer to come to an end.
    ending: bool,
    /// Set by an end that was told `Pending` or `Full`, cleared when it is woken: one wake-up
    /// for each wait, not one for each write.
    reader_waits: bool,
    writer_waits: bool,
    reader_notify: Option<(Arc<dyn Notify>, u64)>,
    writer_notify: Option<(Arc<dyn Notify>, u64)>,
}

struct Shared {
    state: Mutex<State>,
    /// One suffices: the pipe is never full and empty at once, so at most one end sleeps.
    moved: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic between two of our statements cannot leave the queue inconsistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.moved
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Unlocks, then wakes the reader if it waits.
    fn wake_reader(&self, mut state: MutexGuard<'_, State>) {
        if std::mem::take(&mut state.reader_waits) {
            let notify = state.reader_notify.clone();
            drop(state);
            self.wake(notify);
        }
    }

    /// Unlocks, then wakes the writer if it waits.
    fn wake_writer(&self, mut state: MutexGuard<'_, State>) {
        if std::mem::take(&mut state.writer_waits) {
            let notify = state.writer_notify.clone();
            drop(state);
            self.wake(notify);
        }
    }

    fn wake(&self, notify: Option<(Arc<dyn Notify>, u64)>) {
        match notify {
            Some((notify, key)) => notify.notify(key),
            None => self.moved.notify_all(),
        }
    }
}

/// Makes pipes; see [`Pipe::new`].
#[derive(Debug)]
pub struct Pipe;

impl Pipe {
    /// A pipe that holds at most `capacity` bytes, and at least one. Nothing is allocated for
    /// bytes before the first write.
    #[allow(clippy::new_ret_no_self)] // A pipe is its two ends.
    pub fn new(capacity: usize) -> (PipeWriter, PipeReader) {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                bytes: VecDeque::new(),
                capacity: capacity.max(1),
                writer: Writer::Open,
                fault: None,
                reader_gone: false,
                reader_waits: false,
                writer_waits: false,
                ending: false,
                reader_notify: None,
                writer_notify: None,
            }),
            moved: Condvar::new(),
        });
        (
            PipeWriter {
                shared: Arc::clone(&shared),
            },
            PipeReader { shared },
        )
    }

    /// A pipe of the usual size, 64 KiB.
    pub fn with_usual_capacity() -> (PipeWriter, PipeReader) {
        Pipe::new(PIPE_BYTES)
    }
}

/// The end that takes bytes.
pub struct PipeWriter {
    shared: Arc<Shared>,
}

impl PipeWriter {
    /// Offers bytes without blocking.
    pub fn push(&mut self, bytes: &[u8]) -> Push {
        let mut state = self.shared.lock();
        if state.reader_gone || state.writer != Writer::Open {
            return Push::Closed;
        }
        let room = state.capacity - state.bytes.len();
        let taken = room.min(bytes.len());
        if taken == 0 && !bytes.is_empty() {
            state.writer_waits = true;
            return Push::Full;
        }
        state.bytes.extend(&bytes[..taken]);
        self.shared.wake_reader(state);
        Push::Taken(taken)
    }

    /// Bytes that would be taken at once; 0 when full or when the reader is gone.
    pub fn room(&self) -> usize {
        let state = self.shared.lock();
        if state.reader_gone {
            0
        } else {
            state.capacity - state.bytes.len()
        }
    }

    /// Like [`PipeWriter::room`], but a full pipe calls the bound [`Notify`] when that changes.
    pub fn await_room(&mut self) -> Push {
        let mut state = self.shared.lock();
        let room = state.capacity - state.bytes.len();
        if state.reader_gone {
            return Push::Closed;
        }
        state.writer_waits = room == 0;
        if room == 0 {
            Push::Full
        } else {
            Push::Taken(room)
        }
    }

    /// Whether the reader was dropped.
    pub fn is_closed(&self) -> bool {
        self.shared.lock().reader_gone
    }

    /// Whether the reader asked for an end: see [`PipeReader::ask_to_end`].
    pub fn is_asked_to_end(&self) -> bool {
        self.shared.lock().ending
    }

    /// Nothing follows: the reader gets what is left, then the end.
    pub fn finish(&mut self) {
        self.end(Writer::Finished);
    }

    /// Nothing follows and what came is not the whole.
    pub fn fail(&mut self) {
        self.fail_with(io::ErrorKind::ConnectionAborted);
    }

    /// Like [`PipeWriter::fail`]; a blocking reader gets an error of this kind.
    pub fn fail_with(&mut self, kind: io::ErrorKind) {
        self.end(Writer::Failed(kind));
    }

    /// Like [`PipeWriter::fail`], with the reason for the log.
    pub fn fail_because(&mut self, fault: Fault) {
        self.shared.lock().fault = Some(Box::new(fault));
        self.fail();
    }

    /// From now on this end is told through `notify` and must not block. A progress made before
    /// is found by the next [`PipeWriter::push`].
    pub fn bind(&mut self, notify: Arc<dyn Notify>, key: u64) {
        self.shared.lock().writer_notify = Some((notify, key));
    }

    fn end(&mut self, end: Writer) {
        let mut state = self.shared.lock();
        if state.writer == Writer::Open {
            state.writer = end;
            self.shared.wake_reader(state);
        }
    }
}

/// Blocks while the pipe is full. A reader that is gone is `BrokenPipe`.
impl io::Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let mut state = self.shared.lock();
        loop {
            if state.reader_gone || state.writer != Writer::Open {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let taken = (state.capacity - state.bytes.len()).min(bytes.len());
            if taken > 0 {
                state.bytes.extend(&bytes[..taken]);
                self.shared.wake_reader(state);
                return Ok(taken);
            }
            state.writer_waits = true;
            state = self.shared.wait(state);
        }
    }

    /// Does nothing: bytes are visible to the reader as soon as they are written.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        self.fail();
    }
}

/// The end that gives bytes.
pub struct PipeReader {
    shared: Arc<Shared>,
}

impl PipeReader {
    /// Appends at most `max` bytes to `out` without blocking.
    pub fn pull(&mut self, out: &mut Vec<u8>, max: usize) -> Pull {
        let mut state = self.shared.lock();
        if state.bytes.is_empty() {
            return match state.writer {
                Writer::Finished => Pull::End,
                Writer::Failed(_) => Pull::Failed,
                Writer::Open => {
                    state.reader_waits = true;
                    Pull::Pending
                }
            };
        }
        let count = state.bytes.len().min(max);
        let (front, back) = state.bytes.as_slices();
        let from_front = front.len().min(count);
        out.extend_from_slice(&front[..from_front]);
        out.extend_from_slice(&back[..count - from_front]);
        state.bytes.drain(..count);
        self.shared.wake_writer(state);
        Pull::Some(count)
    }

    /// Why the writer failed, if it said so.
    pub fn take_fault(&mut self) -> Option<Box<Fault>> {
        self.shared.lock().fault.take()
    }

    /// Asks the writer to come to an end soon; a writer that never looks writes on.
    pub fn ask_to_end(&self) {
        self.shared.lock().ending = true;
    }

    /// From now on this end is told through `notify` and must not block. A progress made before
    /// is found by the next [`PipeReader::pull`].
    pub fn bind(&mut self, notify: Arc<dyn Notify>, key: u64) {
        self.shared.lock().reader_notify = Some((notify, key));
    }
}

/// Blocks while the pipe is empty. A failed writer is an error, not an end.
impl io::Read for PipeReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let mut state = self.shared.lock();
        while state.bytes.is_empty() {
            match state.writer {
                Writer::Finished => return Ok(0),
                Writer::Failed(kind) => return Err(kind.into()),
                Writer::Open => {
                    state.reader_waits = true;
                    state = self.shared.wait(state);
                }
            }
        }
        let count = io::Read::read(&mut state.bytes, into)?;
        self.shared.wake_writer(state);
        Ok(count)
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.reader_gone = true;
        state.bytes = VecDeque::new();
        self.shared.wake_writer(state);
    }
}

impl std::fmt::Debug for PipeWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PipeWriter")
    }
}

impl std::fmt::Debug for PipeReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PipeReader")
    }
}

/// What a streamed answer is written to. Writing blocks while the peer is slow and fails with
/// `BrokenPipe` when it is gone.
#[derive(Debug)]
pub struct BodyWriter {
    pipe: PipeWriter,
}

impl BodyWriter {
    /// A writer over this end of a pipe.
    pub fn new(pipe: PipeWriter) -> BodyWriter {
        BodyWriter { pipe }
    }

    /// Whether the peer is gone, for a producer that would rather not compute in vain.
    pub fn is_closed(&self) -> bool {
        self.pipe.is_closed()
    }

    /// Whether the server is draining: a stream without an end of its own, such as one of
    /// events, should finish now, or the drain's deadline cuts it off.
    pub fn is_draining(&self) -> bool {
        self.pipe.is_asked_to_end()
    }

    /// The body is whole.
    pub fn finish(mut self) {
        self.pipe.finish();
    }

    /// The body is not whole, and why.
    pub(super) fn fail_because(mut self, fault: Fault) {
        self.pipe.fail_because(fault);
    }
}

impl io::Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pipe.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pipe.flush()
    }
}

/// What an upload handler reads the request's body from. Reading blocks while the peer is slow;
/// a body that ends early is an error.
#[derive(Debug)]
pub struct BodyReader {
    pipe: PipeReader,
}

impl BodyReader {
    /// A reader over this end of a pipe.
    pub fn new(pipe: PipeReader) -> BodyReader {
        BodyReader { pipe }
    }
}

impl io::Read for BodyReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.pipe.read(into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::sync::mpsc;

    /// Sends each key to a channel, so that a test can wait for a notification.
    struct Bell(Mutex<mpsc::Sender<u64>>);

    impl Notify for Bell {
        fn notify(&self, key: u64) {
            let _ = self.0.lock().unwrap().send(key);
        }
    }

    fn bell() -> (Arc<dyn Notify>, mpsc::Receiver<u64>) {
        let (sender, receiver) = mpsc::channel();
        (Arc::new(Bell(Mutex::new(sender))), receiver)
    }

    #[test]
    fn a_full_pipe_takes_no_more_and_says_when_it_does_again() {
        let (mut writer, mut reader) = Pipe::new(4);
        let (notify, rings) = bell();
        writer.bind(notify, 7);
        assert_eq!(writer.push(b"abcdef"), Push::Taken(4));
        assert_eq!(writer.push(b"ef"), Push::Full);
        let mut out = Vec::new();
        assert_eq!(reader.pull(&mut out, 1), Pull::Some(1));
        assert_eq!(rings.try_recv(), Ok(7));
        assert_eq!(writer.push(b"ef"), Push::Taken(1));
        assert_eq!(reader.pull(&mut out, 9), Pull::Some(4));
        assert_eq!(out, b"abcde");
        assert!(
            rings.try_recv().is_err(),
            "nobody waited for the second pull"
        );
    }

    #[test]
    fn an_empty_pipe_is_pending_until_bytes_or_the_end_come() {
        let (mut writer, mut reader) = Pipe::new(4);
        let (notify, rings) = bell();
        reader.bind(notify, 3);
        let mut out = Vec::new();
        assert_eq!(reader.pull(&mut out, 9), Pull::Pending);
        assert_eq!(writer.push(b"x"), Push::Taken(1));
        assert_eq!(rings.try_recv(), Ok(3));
        assert_eq!(reader.pull(&mut out, 9), Pull::Some(1));
        assert_eq!(reader.pull(&mut out, 9), Pull::Pending);
        writer.finish();
        assert_eq!(rings.try_recv(), Ok(3));
        assert_eq!(reader.pull(&mut out, 9), Pull::End);
    }

    #[test]
    fn a_dropped_writer_has_failed_and_a_finished_one_has_not() {
        let (mut writer, mut reader) = Pipe::new(4);
        writer.push(b"x");
        drop(writer);
        let mut out = Vec::new();
        assert_eq!(reader.pull(&mut out, 9), Pull::Some(1));
        assert_eq!(reader.pull(&mut out, 9), Pull::Failed);
        assert!(reader.read(&mut [0]).is_err());

        let (mut writer, mut reader) = Pipe::new(4);
        writer.finish();
        drop(writer);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_dropped_reader_breaks_the_pipe() {
        let (mut writer, reader) = Pipe::new(2);
        writer.push(b"ab");
        let thread = std::thread::spawn(move || writer.write(b"c").unwrap_err().kind());
        drop(reader);
        assert_eq!(thread.join().unwrap(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn two_blocking_ends_pass_everything_in_order() {
        let (mut writer, mut reader) = Pipe::new(7);
        let sent: Vec<u8> = (0..10_000u32).map(|n| (n % 251) as u8).collect();
        let copy = sent.clone();
        let thread = std::thread::spawn(move || {
            writer.write_all(&copy).unwrap();
            writer.finish();
        });
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        thread.join().unwrap();
        assert_eq!(got, sent);
    }

    #[test]
    fn a_reason_for_failing_reaches_the_reader() {
        let (mut writer, mut reader) = Pipe::new(7);
        writer.fail_with(io::ErrorKind::TimedOut);
        assert_eq!(
            reader.read(&mut [0]).unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
    }
}
