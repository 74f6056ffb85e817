//! The access log: lines leave the workers without waiting for whoever reads them.
//!
//! Each worker has a lane, a bounded vector behind a lock of its own that only the writing
//! thread shares; a line is formatted straight into it. One thread swaps the lanes for empty
//! vectors and writes them out, at most every [`GATHER_MS`], so a busy worker pays for a wake-up
//! twenty times a second and not per line, and at steady state nobody allocates. A reader that
//! stops reading blocks that thread alone: lanes fill to [`LANE_BYTES_MAX`], further lines are
//! dropped, counted, and the count is a line of its own once there is room.

use std::io::{self, Write};
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::line::{Event, Form, Line};

/// Bytes waiting in one lane. 1 MiB: some 4,000 lines, a tenth of a second of a worker at its
/// limit, hours of one that is not.
pub const LANE_BYTES_MAX: usize = 1 << 20;

/// Milliseconds lines gather before they are written. 50: an eye does not see it, and a log at
/// full speed is written in pieces of 100 KiB and more.
pub const GATHER_MS: u64 = 50;

/// Bytes a lane keeps for later when a flood is over. 64 KiB.
const LANE_BYTES_KEPT: usize = 64 << 10;

#[derive(Default)]
struct Lane {
    bytes: Vec<u8>,
    dropped: u64,
}

/// A lane on cache lines of its own, so that two workers do not slow each other down.
#[repr(align(128))]
#[derive(Default)]
struct Apart(Mutex<Lane>);

struct Shared {
    lanes: Vec<Apart>,
    form: Form,
    /// Set by whoever wrote the first line since the writer last looked.
    pending: AtomicBool,
    closing: AtomicBool,
    /// Lines lost since the start, for whoever asks; the lanes' own counts are for the log.
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
    // A panic while holding a lane leaves at worst half a line; the log goes on.
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
            lanes: (0..lanes.max(1)).map(|_| Apart::default()).collect(),
            form,
            pending: AtomicBool::new(false),
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
        let handle = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.run())?;
        Ok(AccessLog {
            shared,
            writer: handle.thread().clone(),
        })
    }

    /// Adds an exchange's line to a worker's lane, or counts it as dropped when that is full.
    pub fn push_line(&self, worker: usize, line: &Line<'_>) {
        self.push(worker, &|form, out| line.write(form, out));
    }

    /// Adds an event likewise.
    pub fn push_event(&self, worker: usize, event: &Event<'_>) {
        self.push(worker, &|form, out| event.write(form, out));
    }

    fn push(&self, worker: usize, write: &dyn Fn(Form, &mut Vec<u8>)) {
        // A worker that did not exist at the start shares a lane; the lock allows it.
        let index = worker % self.shared.lanes.len();
        let Some(lane) = self.shared.lanes.get(index) else {
            return;
        };
        let half_full = {
            let mut lane = lock(&lane.0);
            let before = lane.bytes.len();
            if before >= LANE_BYTES_MAX {
                lane.dropped += 1;
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
            write(self.shared.form, &mut lane.bytes);
            if lane.bytes.len() > LANE_BYTES_MAX {
                lane.bytes.truncate(before);
                lane.dropped += 1;
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
            before < LANE_BYTES_MAX / 2 && lane.bytes.len() >= LANE_BYTES_MAX / 2
        };
        let first = !self.shared.pending.load(Ordering::Relaxed)
            && !self.shared.pending.swap(true, Ordering::AcqRel);
        if first || half_full {
            self.writer.unpark();
        }
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
    /// Empty; swapped for a lane's vector, so that as many vectors as lanes and one go round.
    spare: Vec<u8>,
    /// Whether the last write failed; its loss was told once.
    failed: bool,
    /// Lines that went with it.
    lost: u64,
}

impl Writer {
    fn run(mut self) {
        loop {
            let mut closing = self.shared.closing.load(Ordering::Acquire);
            while !closing && !self.shared.pending.load(Ordering::Acquire) {
                thread::park();
                closing = self.shared.closing.load(Ordering::Acquire);
            }
            if !closing {
                thread::park_timeout(Duration::from_millis(GATHER_MS));
            }
            // Cleared before the lanes are read: a line that comes later sets it again.
            self.shared.pending.store(false, Ordering::Release);
            let found = self.drain();
            if closing && !found {
                break;
            }
        }
        *lock(&self.shared.ended) = true;
        self.shared.ended_bell.notify_all();
    }

    /// Writes every lane out; whether there was anything.
    fn drain(&mut self) -> bool {
        let mut found = false;
        let mut dropped = 0;
        let shared = Arc::clone(&self.shared);
        for lane in &shared.lanes {
            let mut bytes = mem::take(&mut self.spare);
            {
                let mut lane = lock(&lane.0);
                mem::swap(&mut lane.bytes, &mut bytes);
                dropped += mem::take(&mut lane.dropped);
            }
            if !bytes.is_empty() {
                found = true;
                self.write(&bytes);
            }
            let quiet = bytes.len() < LANE_BYTES_KEPT;
            bytes.clear();
            if quiet && bytes.capacity() > LANE_BYTES_KEPT {
                bytes.shrink_to(LANE_BYTES_KEPT);
            }
            self.spare = bytes;
        }
        if !self.failed {
            dropped += mem::take(&mut self.lost);
        }
        if dropped > 0 {
            found = true;
            let mut line = Vec::new();
            let event = Event {
                unix_ms: (self.clock)(),
                level: "warn",
                message: "access log lines dropped",
                count: ("dropped", dropped),
            };
            event.write(shared.form, &mut line);
            self.write(&line);
        }
        found
    }

    fn write(&mut self, bytes: &[u8]) {
        let result = self.sink.write_all(bytes).and_then(|()| self.sink.flush());
        match result {
            Ok(()) => self.failed = false,
            // The reader is gone or the disk is full. Nothing here can mend it and the next
            // write may succeed, so it is told once and the lines are lost.
            Err(error) if !self.failed => {
                self.failed = true;
                self.lose(bytes);
                let told = [
                    "aureond: cannot write the access log: ",
                    &error.to_string(),
                    "\n",
                ];
                // If standard error is gone too, there is nobody to tell.
                drop(io::stderr().write_all(told.concat().as_bytes()));
            }
            Err(_) => self.lose(bytes),
        }
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
    use std::sync::mpsc::{Receiver, Sender, channel};

    fn line(path: &str) -> Line<'_> {
        Line {
            unix_ms: 0,
            method: "GET",
            path,
            status: 200,
            bytes: 0,
            duration_us: 0,
            client: None,
            host: b"",
            user_agent: b"",
            referer: b"",
            slow: false,
            request_id: "",
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
                    for number in 0..2_000 {
                        log.push_line(worker, &line(&format!("/{worker}/{number}")));
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
        log.push_line(0, &line("/a"));
        assert!(written.recv_timeout(Duration::from_secs(60)).is_ok());
        log.push_line(0, &line("/b"));
        assert!(written.recv_timeout(Duration::from_secs(60)).is_ok());
        assert!(log.close(Duration::from_secs(60)));
    }

    #[test]
    fn a_reader_that_stops_costs_lines_but_never_blocks_a_worker() {
        let (open, gate) = channel();
        let (log, written) = start(1, Some(gate));
        // The thread takes what is there and stands at the gate; then the lane fills and stays.
        let length = {
            let mut out = Vec::new();
            line("/x").write(Form::Json, &mut out);
            out.len()
        };
        let pushed = 3 * LANE_BYTES_MAX / length;
        for _ in 0..pushed {
            log.push_line(0, &line("/x"));
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
        let full = Box::new(Full { out, refusals: 2 });
        let log = AccessLog::start(1, Form::Json, full, || 0).unwrap();
        let patience = Duration::from_secs(60);
        for _ in 0..2 {
            log.push_line(0, &line("/lost"));
            assert!(written.recv_timeout(patience).unwrap().is_empty());
        }
        log.push_line(0, &line("/kept"));
        let kept = String::from_utf8(written.recv_timeout(patience).unwrap()).unwrap();
        assert!(kept.contains("/kept"), "{kept}");
        let told = String::from_utf8(written.recv_timeout(patience).unwrap()).unwrap();
        assert!(told.contains("\"dropped\":2"), "{told}");
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
            log.push_line(0, &line("/"));
        }
        assert!(log.close(Duration::from_secs(60)));
    }
}
