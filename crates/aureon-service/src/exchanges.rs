//! The last exchanges, in a ring that workers write without waiting and anyone may read.
//!
//! Each worker has a lane of `LANE_SLOTS` slots that it alone writes; reading merges the lanes,
//! the youngest first. A slot is a row of atomics with a number in front (a seqlock): odd while it
//! is written, and otherwise saying for which exchange it stands, so that a reader knows a slot
//! that was overwritten under its eyes and leaves it out. Nothing is locked, and memory comes in
//! blocks of 64 exchanges, with the first use of each. What is kept is what may be logged: no
//! query, no fields but the request's id.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use aureon::app::RequestId;
use aureon::http::Method;
use aureon::server::{Ending, Exchange};

use crate::json::Object;
use crate::stamp::write_stamp;

/// Exchanges that are told. 1,000: some seconds of a busy service, an hour of a quiet one.
pub const EXCHANGES_MAX: usize = 1_000;

/// Exchanges that each worker keeps: all that are told may have been one worker's.
const LANE_SLOTS: usize = 1_024;
/// Slots allocated at once: 16 KiB.
const BLOCK_SLOTS: usize = 64;

/// Words of a slot: 256 bytes, four cache lines.
const WORDS: usize = 32;
/// Where the parts of a slot begin, and the bytes that fit in the texts.
const ENDED: usize = 1;
const DURATION: usize = 2;
const STAGES: usize = 3;
const BYTES: usize = 4;
const META: usize = 5;
const LENGTHS: usize = 6;
const ADDRESS: usize = 7;
const ID: usize = 9;
const PATH: usize = 14;
const ROUTE: usize = 26;
/// A UUID has 36; longer ids of clients are cut.
const ID_BYTES: usize = (PATH - ID) * 8;
const PATH_BYTES: usize = (ROUTE - PATH) * 8;
const ROUTE_BYTES: usize = (WORDS - ROUTE) * 8;

struct Slot([AtomicU64; WORDS]);

/// The slots of one worker, on cache lines of its own.
#[repr(align(128))]
struct Lane {
    /// Exchanges written so far.
    written: AtomicU64,
    blocks: [OnceLock<Box<[Slot]>>; LANE_SLOTS / BLOCK_SLOTS],
}

/// The ring.
pub struct Exchanges {
    lanes: Box<[Lane]>,
}

impl Exchanges {
    /// A ring for so many workers.
    pub fn new(workers: usize) -> Exchanges {
        let lane = |_| Lane {
            written: AtomicU64::new(0),
            blocks: std::array::from_fn(|_| OnceLock::new()),
        };
        Exchanges {
            lanes: (0..workers.max(1)).map(lane).collect(),
        }
    }

    /// Keeps an exchange. Called by the worker that served it and by nobody else.
    pub fn record(&self, exchange: &Exchange<'_, '_>, client: Option<IpAddr>) {
        let Some(lane) = self.lanes.get(exchange.worker) else {
            return;
        };
        let number = lane.written.load(Ordering::Relaxed);
        let Some(Slot(words)) = lane.slot(number) else {
            return;
        };
        let request = exchange.request;
        let id = request.request_id().map_or(&b""[..], RequestId::as_bytes);
        let path = request.head().path_bytes();
        words[0].store(number * 2 + 1, Ordering::Relaxed);
        // Whoever sees a word of this exchange sees the odd number too.
        fence(Ordering::Release);
        let set = |at: usize, value: u64| words[at].store(value, Ordering::Relaxed);
        set(ENDED, exchange.ended_unix_us);
        set(DURATION, exchange.duration_us);
        let stage = |us: u64| us.min(u64::from(u32::MAX));
        set(
            STAGES,
            stage(exchange.receive_us) << 32 | stage(exchange.send_us),
        );
        set(BYTES, exchange.bytes);
        let family = match client {
            None => 0,
            Some(client) => {
                let (family, high, low) = match client {
                    IpAddr::V4(ip) => (4, 0, u64::from(ip.to_bits())),
                    IpAddr::V6(ip) => (6, (ip.to_bits() >> 64) as u64, ip.to_bits() as u64),
                };
                set(ADDRESS, high);
                set(ADDRESS + 1, low);
                family
            }
        };
        let codes = u64::from(exchange.status.code()) << 48 | (request.method() as u64) << 40;
        set(META, codes | (exchange.ending as u64) << 32 | family);
        let id_len = pack(&words[ID..PATH], id);
        let path_len = pack(&words[PATH..ROUTE], path);
        let route_len = pack(&words[ROUTE..], exchange.route.as_bytes());
        set(LENGTHS, id_len | path_len << 16 | route_len << 32);
        words[0].store(number * 2 + 2, Ordering::Release);
        lane.written.store(number + 1, Ordering::Release);
    }

    /// Writes the last `max` exchanges as a JSON array, the youngest first.
    pub fn write_json(&self, max: usize, out: &mut Vec<u8>) {
        let mut cursors: Vec<Cursor<'_>> = self.lanes.iter().map(Cursor::new).collect();
        out.push(b'[');
        for index in 0..max.min(EXCHANGES_MAX) {
            let mut youngest: Option<(u64, usize)> = None;
            for (at, cursor) in cursors.iter().enumerate() {
                if let Some(record) = &cursor.record
                    && youngest.is_none_or(|(ended, _)| record[ENDED] > ended)
                {
                    youngest = Some((record[ENDED], at));
                }
            }
            let Some((_, at)) = youngest else { break };
            if index > 0 {
                out.push(b',');
            }
            if let Some(record) = &cursors[at].record {
                write_record(record, at, out);
            }
            cursors[at].step();
        }
        out.push(b']');
    }
}

impl Lane {
    fn slot(&self, number: u64) -> Option<&Slot> {
        let at = number as usize % LANE_SLOTS;
        let block = self.blocks.get(at / BLOCK_SLOTS)?.get_or_init(|| {
            let slot = |_| Slot(std::array::from_fn(|_| AtomicU64::new(0)));
            (0..BLOCK_SLOTS).map(slot).collect()
        });
        block.get(at % BLOCK_SLOTS)
    }

    /// A copy of an exchange; `None` when it is gone or going.
    fn read(&self, number: u64) -> Option<[u64; WORDS]> {
        let at = number as usize % LANE_SLOTS;
        let Slot(words) = self
            .blocks
            .get(at / BLOCK_SLOTS)?
            .get()?
            .get(at % BLOCK_SLOTS)?;
        if words[0].load(Ordering::Acquire) != number * 2 + 2 {
            return None;
        }
        let copy = std::array::from_fn(|at| words[at].load(Ordering::Relaxed));
        // The words above are read before the number is read again.
        fence(Ordering::Acquire);
        (words[0].load(Ordering::Relaxed) == number * 2 + 2).then_some(copy)
    }
}

/// Walks a lane from its youngest exchange to its oldest.
struct Cursor<'a> {
    lane: &'a Lane,
    next: u64,
    /// Nothing before this one is there any more.
    end: u64,
    record: Option<[u64; WORDS]>,
}

impl<'a> Cursor<'a> {
    fn new(lane: &'a Lane) -> Cursor<'a> {
        let next = lane.written.load(Ordering::Acquire);
        let mut cursor = Cursor {
            lane,
            next,
            end: next.saturating_sub(LANE_SLOTS as u64),
            record: None,
        };
        cursor.step();
        cursor
    }

    fn step(&mut self) {
        self.record = None;
        while self.record.is_none() && self.next > self.end {
            self.next -= 1;
            self.record = self.lane.read(self.next);
        }
    }
}

/// Puts as much of a text as fits into words; gives the length that it has in them, and beyond
/// that one more when it was cut.
fn pack(words: &[AtomicU64], text: &[u8]) -> u64 {
    let room = words.len() * 8;
    let kept = text.get(..room).unwrap_or(text);
    let (whole, end) = kept.as_chunks::<8>();
    let mut places = words.iter();
    for (chunk, place) in whole.iter().zip(&mut places) {
        place.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
    }
    if let (false, Some(place)) = (end.is_empty(), places.next()) {
        let mut last = 0;
        for byte in end.iter().rev() {
            last = last << 8 | u64::from(*byte);
        }
        place.store(last, Ordering::Relaxed);
    }
    kept.len() as u64 + u64::from(text.len() > room)
}

/// The text in these words, and whether it was cut.
fn unpack(words: &[u64], len: u64, into: &mut [u8; PATH_BYTES]) -> (usize, bool) {
    let room = words.len() * 8;
    for (bytes, word) in into.chunks_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    let len = len as usize;
    (len.min(room), len > room)
}

fn write_record(record: &[u64; WORDS], worker: usize, out: &mut Vec<u8>) {
    let meta = record[META];
    let mut bytes = [0; PATH_BYTES];
    let mut object = Object::new(out);
    object.string("ended", write_stamp(record[ENDED] / 1_000));
    let mut text = |object: &mut Object<'_>, name: &str, from: usize, to: usize, shift: u32| {
        let len = record[LENGTHS] >> shift & 0xffff;
        let (len, cut) = unpack(&record[from..to], len, &mut bytes);
        // One byte more than is shown has the writer say that there was more.
        let shown = bytes.get(..len).unwrap_or_default();
        if cut {
            let more = [shown, b"."].concat();
            object.clipped(name, &more, len);
        } else {
            object.string(name, shown);
        }
    };
    text(&mut object, "request_id", ID, PATH, 0);
    match meta as u8 {
        4 => object.display(
            "client_ip",
            &Ipv4Addr::from_bits(record[ADDRESS + 1] as u32),
        ),
        6 => {
            let bits = u128::from(record[ADDRESS]) << 64 | u128::from(record[ADDRESS + 1]);
            object.display("client_ip", &Ipv6Addr::from_bits(bits));
        }
        _ => object.string("client_ip", "unix"),
    }
    let method = Method::ALL.get((meta >> 40 & 0xff) as usize);
    object.string("method", method.map_or("", |method| method.as_str()));
    text(&mut object, "path", PATH, ROUTE, 16);
    text(&mut object, "route", ROUTE, WORDS, 32);
    object.number("status", meta >> 48);
    object.number("bytes", record[BYTES]);
    let ending = Ending::ALL.get((meta >> 32 & 0xff) as usize);
    object.string("ending", ending.map_or("", |ending| ending.name()));
    let (receive, send) = (record[STAGES] >> 32, record[STAGES] & 0xffff_ffff);
    object.seconds("receive", receive);
    object.seconds("handle", record[DURATION].saturating_sub(send));
    object.seconds("send", send);
    object.seconds("duration", record[DURATION]);
    object.number("worker", worker as u64);
    object.end();
}

const _: () = assert!(ID_BYTES <= PATH_BYTES && ROUTE_BYTES <= PATH_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use aureon::Status;
    use aureon::app::Peer;
    use aureon::http::{Head, HeadEvent, Scratch, Session};
    use aureon::{Limits, Request};
    use serde_json::Value;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    /// Hands an exchange of this target to `use_it`.
    fn with_request(target: &str, use_it: impl FnOnce(Head<'_>)) {
        let bytes = ["GET ", target, " HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        let mut scratch = Scratch::new();
        let mut session = Session::new();
        match session.receive_head(bytes.as_bytes(), &mut scratch, &Limits::DEFAULT) {
            Ok(HeadEvent::Request { head, .. }) => use_it(head),
            other => panic!("{other:?}"),
        }
    }

    fn record(ring: &Exchanges, worker: usize, target: &str, number: u64, peer: Peer) {
        with_request(target, |head| {
            let request = Request::new(head, &[], peer);
            let id = format!("{number:036}");
            request.set_id(RequestId::parse(id.as_bytes()).unwrap());
            let exchange = Exchange {
                worker,
                request: &request,
                route: "/{name}",
                status: Status::NOT_FOUND,
                bytes: number,
                duration_us: number + 5,
                receive_us: number,
                send_us: 5,
                ended_unix_us: 1_000_000_000_000_000 + number,
                fault: None,
                ending: Ending::PeerGone,
            };
            ring.record(&exchange, request.client());
        });
    }

    fn read(ring: &Exchanges, max: usize) -> Vec<Value> {
        let mut out = Vec::new();
        ring.write_json(max, &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn tells_all_that_it_was_given() {
        let ring = Exchanges::new(1);
        let peer = Peer::Ip("192.0.2.7:4711".parse().unwrap());
        record(&ring, 0, "/ada?password=1", 42, peer);
        let [told] = &read(&ring, 10)[..] else {
            panic!()
        };
        let expected = serde_json::json!({
            "ended": "2001-09-09T01:46:40.000Z",
            "request_id": format!("{:036}", 42),
            "client_ip": "192.0.2.7",
            "method": "GET",
            "path": "/ada",
            "route": "/{name}",
            "status": 404,
            "bytes": 42,
            "ending": "peer-gone",
            "receive": 0.000042,
            "handle": 0.000042,
            "send": 0.000005,
            "duration": 0.000047,
            "worker": 0,
        });
        assert_eq!(told, &expected);
    }

    #[test]
    fn a_long_path_is_cut_and_says_so() {
        let ring = Exchanges::new(1);
        for len in [7, 8, 9, PATH_BYTES - 1, PATH_BYTES, PATH_BYTES + 1, 500] {
            let target = ["/", &"x".repeat(len - 1)].concat();
            record(&ring, 0, &target, len as u64, Peer::Unix);
            let told = &read(&ring, 1)[0];
            let path = told["path"].as_str().unwrap();
            if len <= PATH_BYTES {
                assert_eq!(path, target);
            } else {
                assert_eq!(path, [&target[..PATH_BYTES], "\u{2026}"].concat());
            }
            assert_eq!(told["client_ip"], "unix");
        }
    }

    #[test]
    fn an_address_of_version_6_is_told_as_one() {
        let ring = Exchanges::new(1);
        let peer = Peer::Ip("[2001:db8::17]:80".parse().unwrap());
        record(&ring, 0, "/", 1, peer);
        assert_eq!(read(&ring, 1)[0]["client_ip"], "2001:db8::17");
    }

    #[test]
    fn lanes_are_merged_by_time_and_only_the_last_thousand_are_told() {
        let ring = Exchanges::new(3);
        for number in 0..3_000 {
            record(&ring, number as usize % 3, "/", number, Peer::Unix);
        }
        let told = read(&ring, usize::MAX);
        let numbers: Vec<u64> = told.iter().map(|e| e["bytes"].as_u64().unwrap()).collect();
        let expected: Vec<u64> = (2_000..3_000).rev().collect();
        assert_eq!(numbers, expected);
        assert_eq!(read(&ring, 5).len(), 5);
        assert_eq!(read(&Exchanges::new(2), 5).len(), 0);
    }

    #[test]
    fn an_exchange_of_a_worker_that_has_no_lane_is_left_out() {
        let ring = Exchanges::new(1);
        record(&ring, 1, "/", 1, Peer::Unix);
        assert!(read(&ring, 1).is_empty());
    }

    #[test]
    fn what_is_read_while_it_is_written_is_whole_or_left_out() {
        let ring = Arc::new(Exchanges::new(1));
        let done = Arc::new(AtomicBool::new(false));
        let writer = {
            let (ring, done) = (Arc::clone(&ring), Arc::clone(&done));
            thread::spawn(move || {
                for number in 0..60_000 {
                    let target = format!("/{number:090}");
                    record(&ring, 0, &target, number, Peer::Unix);
                }
                done.store(true, Ordering::Release);
            })
        };
        let mut seen = 0;
        loop {
            let last = done.load(Ordering::Acquire);
            for told in read(&ring, 200) {
                let number = told["bytes"].as_u64().unwrap();
                assert_eq!(told["path"], format!("/{number:090}"));
                assert_eq!(told["request_id"], format!("{number:036}"));
                seen += 1;
            }
            if last {
                break;
            }
        }
        writer.join().unwrap();
        assert!(seen >= 200, "only {seen} were seen");
    }
}
