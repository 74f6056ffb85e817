//! The access log: lines leave the workers without waiting for whoever reads them.
//!
//! A worker writes lines on a page of its own ([`Lines`]) and hands them over once a turn
//! through its [`Lane`], where neither side waits for the other. One thread empties the lanes and
//! writes, at most every [`GATHER_MS`] and for as long as lines come, so a busy worker wakes it
//! only when a lane is half full, and at steady state nobody allocates. A reader that stops
//! reading blocks that thread alone: lanes fill to their bound, further lines are dropped,
//! counted, and the count is a line of its own once there is room.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use aureon::sys;

use crate::kept::Kept;
use crate::lane::{Lane, Put, Taken};
use crate::line::{Event, Form, Line};
use crate::pen::Page;

/// Milliseconds lines gather before they are written. 50: an eye does not see it, and a log at
/// full speed is written in pieces of 100 KiB and more.
pub const GATHER_MS: u64 = 50;

/// Bytes a lane keeps for later when a flood is over. 64 KiB.
const LANE_BYTES_KEPT: usize = 64 << 10;

/// Bytes that a worker gathers before it hands them over within a turn. 64 KiB: some 230 lines,
/// more than most turns have. Handing over a dozen at a time cost a fifth of all that a line does.
const LINES_BYTES: usize = 64 << 10;

/// Bytes of the writing thread's stack. 256 KiB: many times what a write needs; reserved, not used.
const STACK_BYTES: usize = 256 << 10;

/// The lines of one worker that it has not handed over.
#[derive(Debug, Default)]
pub struct Lines {
    page: Page,
    count: u64,
    /// Made with the first line.
    kept: Option<Box<Kept>>,
}

impl Lines {
    /// None.
    pub const fn new() -> Lines {
        Lines {
            page: Page::new(),
            count: 0,
            kept: None,
        }
    }
}

struct Shared {
    lanes: Vec<Lane>,
    /// Lines that found no room and were not told of yet.
    dropped: AtomicU64,
    form: Form,
    /// Set by whoever handed over the first lines since the writer last looked.
    pending: AtomicBool,
    /// A lane is half full: lines are not to be gathered any longer.
    hurry: AtomicBool,
    closing: AtomicBool,
    /// Lines lost since the start, for whoever asks.
    lost: AtomicU64,
    /// Whether the writer has ended, for `close` to wait on.
    ended: Mutex<bool>,
    ended_bell: Condvar,
}

/// The log. Clones are the same log.
#[derive(Clone)]
pub struct AccessLog {
    shared: Arc<Shared>,
    writer: Thread,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is locked is a flag; a panic leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AccessLog {
    /// Starts the writing thread. `lanes` is the number of workers.
    pub fn start(
        lanes: usize,
        form: Form,
        sink: Box<dyn Write + Send>,
        clock: fn() -> u64,
    ) -> io::Result<AccessLog> {
        let shared = Arc::new(Shared {
            lanes: (0..lanes.max(1)).map(|_| Lane::default()).collect(),
            dropped: AtomicU64::new(0),
            form,
            pending: AtomicBool::new(false),
            hurry: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            ended: Mutex::new(false),
            ended_bell: Condvar::new(),
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            sink,
            clock,
            spare: Vec::new(),
            failed: false,
            lost: 0,
        };
        let body = move || {
            writer.run();
            Ok(())
        };
        let handle = sys::thread::start("log", STACK_BYTES, Box::new(body))?;
        Ok(AccessLog {
            shared,
            writer: handle.thread().clone(),
        })
    }

    /// Adds an exchange's line to those of a worker.
    pub fn push_line(&self, worker: usize, lines: &mut Lines, line: &Line<'_>) {
        let kept = lines.kept.get_or_insert_default();
        line.write(self.shared.form, kept, &mut lines.page);
        self.count(worker, lines);
    }

    /// Adds an event likewise.
    pub fn push_event(&self, worker: usize, lines: &mut Lines, event: &Event<'_>) {
        event.write(self.shared.form, &mut lines.page);
        self.count(worker, lines);
    }

    #[inline]
    fn count(&self, worker: usize, lines: &mut Lines) {
        lines.count += 1;
        if lines.page.len() >= LINES_BYTES {
            self.hand_over(worker, lines);
        }
    }

    /// Gives the lines of a worker to the writing thread, or counts them as dropped when its lane
    /// is full. Called at the end of each turn; lines that are not handed over are not written.
    pub fn hand_over(&self, worker: usize, lines: &mut Lines) {
        if lines.count == 0 {
            return;
        }
        let count = std::mem::take(&mut lines.count);
        // There is a lane for each worker.
        let lane = self.shared.lanes.get(worker % self.shared.lanes.len());
        let put = lane.map_or(Put::Full, |lane| lane.put(lines.page.written()));
        lines.page.clear();
        let pending = &self.shared.pending;
        let tell = match put {
            // A lane that was emptied before this was put has shown that `pending` was cleared,
            // by the slot's lock; a flag that is still seen set so belongs to a look to come.
            Put::Kept => !pending.load(Ordering::Relaxed) && !pending.swap(true, Ordering::AcqRel),
            Put::Moved | Put::HalfFull => {
                if put == Put::HalfFull {
                    self.shared.hurry.store(true, Ordering::Release);
                }
                pending.store(true, Ordering::Release);
                true
            }
            Put::Full => {
                self.shared.dropped.fetch_add(count, Ordering::Relaxed);
                self.shared.lost.fetch_add(count, Ordering::Relaxed);
                false
            }
        };
        if tell {
            self.writer.unpark();
        }
    }

    /// How its lines look.
    #[inline]
    pub fn form(&self) -> Form {
        self.shared.form
    }

    /// Lines that were lost since the start.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Writes what is there and ends the thread. False when the reader took nothing for so long
    /// that lines are lost.
    pub fn close(&self, patience: Duration) -> bool {
        self.shared.closing.store(true, Ordering::Release);
        self.writer.unpark();
        let deadline = Instant::now() + patience;
        let mut ended = lock(&self.shared.ended);
        while !*ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            ended = match self.shared.ended_bell.wait_timeout(ended, left) {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }
}

struct Writer {
    shared: Arc<Shared>,
    sink: Box<dyn Write + Send>,
    clock: fn() -> u64,
    /// Empty; exchanged for a slot's vector, so that as many vectors as slots and one go round.
    spare: Vec<u8>,
    /// Whether the last write failed; its loss was told once.
    failed: bool,
    /// Lines that went with it.
    lost: u64,
}

impl Writer {
    fn run(mut self) {
        loop {
            if !self.is_closing() && !self.shared.pending.load(Ordering::Acquire) {
                // A call to unpark that came since the lanes were read makes this return at
                // once. Nothing is lost by looking once too often.
                thread::park();
            }
            self.gather();
            let closing = self.is_closing();
            // Cleared before the lanes are read: lines that come later set it again.
            self.shared.pending.store(false, Ordering::Release);
            let found = self.drain();
            if closing && !found {
                break;
            }
            if found {
                // There will be more: while lines come no worker has to call for this look.
                self.shared.pending.store(true, Ordering::Release);
            }
        }
        *lock(&self.shared.ended) = true;
        self.shared.ended_bell.notify_all();
    }

    fn is_closing(&self) -> bool {
        self.shared.closing.load(Ordering::Acquire)
    }

    /// Waits while lines gather.
    fn gather(&self) {
        let until = Instant::now() + Duration::from_millis(GATHER_MS);
        while !self.is_closing() && !self.shared.hurry.swap(false, Ordering::AcqRel) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::park_timeout(left);
        }
    }

    /// Writes every lane out; whether there was anything.
    fn drain(&mut self) -> bool {
        let mut found = false;
        let shared = Arc::clone(&self.shared);
        for (lane, slot) in shared.lanes.iter().flat_map(|lane| [(lane, 0), (lane, 1)]) {
            let mut bytes = std::mem::take(&mut self.spare);
            if lane.take(slot, &mut bytes) == Taken::Busy {
                // The worker is adding to it and may not have seen that the flag was cleared.
                found = true;
            }
            if !bytes.is_empty() {
                found = true;
                if self.failed {
                    // First, and by itself: there may be room for this and for no more.
                    self.tell_lost();
                }
                self.write(&bytes);
                let quiet = bytes.len() < LANE_BYTES_KEPT;
                bytes.clear();
                if quiet && bytes.capacity() > LANE_BYTES_KEPT {
                    bytes.shrink_to(LANE_BYTES_KEPT);
                }
            }
            self.spare = bytes;
        }
        self.lost += shared.dropped.swap(0, Ordering::Relaxed);
        if self.lost > 0 && !self.failed {
            found = true;
            self.tell_lost();
        }
        found
    }

    /// Writes a line that says how many were lost, unless that can not be written either.
    fn tell_lost(&mut self) {
        let mut page = Page::new();
        let event = Event {
            unix_ms: (self.clock)(),
            level: "warn",
            message: "access log lines dropped",
            count: ("dropped", self.lost),
        };
        event.write(self.shared.form, &mut page);
        if self.put(page.written()) {
            self.lost = 0;
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        match self.put(bytes) {
            true => self.failed = false,
            false => self.lose(bytes),
        }
    }

    /// Gives bytes to the sink; whether it took them.
    fn put(&mut self, bytes: &[u8]) -> bool {
        let result = self.sink.write_all(bytes).and_then(|()| self.sink.flush());
        let Err(error) = result else { return true };
        // The reader is gone or the disk is full. Nothing here can mend it and the next write may
        // succeed, so it is told once and the lines are lost.
        if !self.failed {
            self.failed = true;
            let told = [
                "aureond: cannot write the access log: ",
                &error.to_string(),
                "\n",
            ];
            // If standard error is gone too, there is nobody to tell.
            drop(io::stderr().write_all(told.concat().as_bytes()));
        }
        false
    }

    /// At most so many lines did not go out; the sink may have taken some of them.
    fn lose(&mut self, bytes: &[u8]) {
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.lost += lines;
        self.shared.lost.fetch_add(lines, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Plain;
    use crate::kept::Kept;
    use crate::lane::LANE_BYTES_MAX;
    use std::sync::mpsc::{Receiver, Sender, channel};

    fn line(path: &str) -> Line<'_> {
        Line {
            unix_us: 0,
            method: Some(aureon::http::Method::Get),
            path: Plain::of(path.as_bytes()).unwrap(),
            status: 200,
            bytes: 0,
            duration_us: 0,
            client: None,
            host: b"",
            user_agent: b"",
            referer: b"",
            slow: None,
            request_id: None,
            route: "",
            ending: None,
            fault: None,
        }
    }

    /// Hands every write over and, when it has a gate, waits there first.
    struct Probe {
        out: Sender<Vec<u8>>,
        gate: Option<Receiver<()>>,
    }

    impl Write for Probe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(gate) = &self.gate {
                // A gate whose other end is gone stands open.
                let _ = gate.recv();
            }
            drop(self.out.send(bytes.to_vec()));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A line by itself, as in a turn with one exchange.
    fn push(log: &AccessLog, path: &str) {
        let mut lines = Lines::new();
        log.push_line(0, &mut lines, &line(path));
        log.hand_over(0, &mut lines);
    }

    fn start(lanes: usize, gate: Option<Receiver<()>>) -> (AccessLog, Receiver<Vec<u8>>) {
        let (out, written) = channel();
        let probe = Box::new(Probe { out, gate });
        (
            AccessLog::start(lanes, Form::Json, probe, || 0).unwrap(),
            written,
        )
    }

    fn paths(written: &Receiver<Vec<u8>>) -> Vec<String> {
        let all: Vec<u8> = written.try_iter().flatten().collect();
        let lines = all
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let value: serde_json::Value = serde_json::from_slice(line).unwrap();
                value["path"].as_str().unwrap_or("dropped").to_owned()
            })
            .collect()
    }

    #[test]
    fn every_line_of_every_worker_is_written_whole_and_in_its_order() {
        let (log, written) = start(2, None);
        let workers: Vec<_> = (0..2)
            .map(|worker| {
                let log = log.clone();
                thread::spawn(move || {
                    let mut lines = Lines::new();
                    for number in 0..2_000 {
                        let path = format!("/{worker}/{number}");
                        log.push_line(worker, &mut lines, &line(&path));
                        if number % 7 == 0 || number == 1_999 {
                            log.hand_over(worker, &mut lines);
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        assert!(log.close(Duration::from_secs(60)));
        let all = paths(&written);
        assert_eq!(all.len(), 4_000);
        for worker in 0..2 {
            let prefix = format!("/{worker}/");
            let mine: Vec<&String> = all
                .iter()
                .filter(|path| path.starts_with(&prefix))
                .collect();
            for (number, path) in mine.iter().enumerate() {
                assert_eq!(**path, format!("/{worker}/{number}"));
            }
        }
    }

    #[test]
    fn lines_come_without_waiting_for_the_end() {
        let (log, written) = start(1, None);
        push(&log, "/a");
        assert!(written.recv_timeout(Duration::from_secs(60)).is_ok());
        push(&log, "/b");
        assert!(written.recv_timeout(Duration::from_secs(60)).is_ok());
        assert!(log.close(Duration::from_secs(60)));
    }

    #[test]
    fn a_reader_that_stops_costs_lines_but_never_blocks_a_worker() {
        let (open, gate) = channel();
        let (log, written) = start(1, Some(gate));
        // The thread takes what is there and stands at the gate; then the lane fills and stays.
        let length = {
            let mut page = Page::new();
            line("/x").write(Form::Json, &mut Kept::default(), &mut page);
            page.written().len()
        };
        let pushed = 3 * LANE_BYTES_MAX / length;
        for _ in 0..pushed {
            push(&log, "/x");
        }
        assert!(
            !log.close(Duration::from_millis(1)),
            "nobody has read anything"
        );
        drop(open);
        assert!(log.close(Duration::from_secs(60)));
        let all: Vec<u8> = written.try_iter().flatten().collect();
        let text = String::from_utf8(all).unwrap();
        let kept = text.matches("\"path\":\"/x\"").count();
        let mut dropped = 0;
        for line in text.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            dropped += value["dropped"].as_u64().unwrap_or(0);
        }
        assert!(
            kept <= 2 * LANE_BYTES_MAX / length + 1,
            "lanes are bounded: {kept}"
        );
        assert_eq!(
            kept as u64 + dropped,
            pushed as u64,
            "every lost line is counted"
        );
        assert!(dropped > 0);
    }

    #[test]
    fn lines_lost_to_a_full_disk_are_counted_when_it_is_not_full_any_more() {
        struct Full {
            out: Sender<Vec<u8>>,
            refusals: usize,
        }
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if self.refusals > 0 {
                    self.refusals -= 1;
                    // The test sees that the write was tried.
                    drop(self.out.send(Vec::new()));
                    return Err(io::ErrorKind::StorageFull.into());
                }
                drop(self.out.send(bytes.to_vec()));
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (out, written) = channel();
        let full = Box::new(Full { out, refusals: 3 });
        let log = AccessLog::start(1, Form::Json, full, || 0).unwrap();
        let patience = Duration::from_secs(60);
        // The lines; then what was lost, and the lines.
        for tries in [1, 2] {
            push(&log, "/lost");
            for _ in 0..tries {
                assert!(written.recv_timeout(patience).unwrap().is_empty());
            }
        }
        push(&log, "/kept");
        let told = String::from_utf8(written.recv_timeout(patience).unwrap()).unwrap();
        assert!(told.contains("\"dropped\":2"), "{told}");
        let kept = String::from_utf8(written.recv_timeout(patience).unwrap()).unwrap();
        assert!(kept.contains("/kept"), "{kept}");
        assert!(log.close(patience));
    }

    #[test]
    fn what_was_lost_is_told_where_there_is_room_for_that_alone() {
        struct Narrow {
            out: Sender<Vec<u8>>,
            room: usize,
        }
        impl Write for Narrow {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let fits = bytes.len() <= self.room;
                drop(
                    self.out
                        .send(if fits { bytes.to_vec() } else { Vec::new() }),
                );
                match fits {
                    true => Ok(bytes.len()),
                    false => Err(io::ErrorKind::StorageFull.into()),
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (out, written) = channel();
        let narrow = Box::new(Narrow { out, room: 150 });
        let log = AccessLog::start(1, Form::Json, narrow, || 0).unwrap();
        let patience = Duration::from_secs(60);
        push(&log, "/lost");
        assert!(written.recv_timeout(patience).unwrap().is_empty());
        push(&log, "/lost-too");
        let told = String::from_utf8(written.recv_timeout(patience).unwrap()).unwrap();
        assert!(told.contains("\"dropped\":1"), "{told}");
        assert!(written.recv_timeout(patience).unwrap().is_empty());
        assert!(log.close(patience));
    }

    #[test]
    fn a_sink_that_fails_loses_lines_and_nothing_else() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let log = AccessLog::start(1, Form::Pretty(false), Box::new(Broken), || 0).unwrap();
        for _ in 0..10 {
            push(&log, "/");
        }
        assert!(log.close(Duration::from_secs(60)));
    }
}
