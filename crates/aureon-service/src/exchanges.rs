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

/// Words of a slot: 256 bytes, four cache lines, of which an exchange with short texts of a client
/// of IPv4 writes two.
const WORDS: usize = 32;
/// Where the parts of a slot begin. Behind them come the upper half of an IPv6 address, the route
/// and the path, each from a word of its own.
const ENDED: usize = 1;
const DURATION: usize = 2;
const STAGES: usize = 3;
const BYTES: usize = 4;
/// From the lowest bit: the lengths of id, route and path, whether they were cut, the family of
/// the address, the ending, the method, the status.
const META: usize = 5;
const ADDRESS: usize = 6;
const ID: usize = 7;
const MORE: usize = ID + ID_BYTES / 8;
const LENGTH_BITS: u32 = 8;
const CUT_BIT: u32 = 3 * LENGTH_BITS;
const FAMILY_BITS: u32 = 28;
const ENDING_BITS: u32 = 32;
const METHOD_BITS: u32 = 40;
const STATUS_BITS: u32 = 48;
/// A UUID has 36; longer ids of clients are cut.
const ID_BYTES: usize = 5 * 8;
const ROUTE_BYTES: usize = 6 * 8;
/// What is left when all else is as long as it can be.
const PATH_BYTES: usize = (WORDS - MORE - 1) * 8 - ROUTE_BYTES;

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
    #[inline(always)]
    pub fn record(&self, exchange: &Exchange<'_, '_>, client: Option<IpAddr>, path: &[u8]) {
        let Some(lane) = self.lanes.get(exchange.worker) else {
            return;
        };
        let number = lane.written.load(Ordering::Relaxed);
        let Some(Slot(words)) = lane.slot(number) else {
            return;
        };
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
        let mut at = MORE;
        let family = match client {
            None => 0,
            Some(IpAddr::V4(ip)) => {
                set(ADDRESS, u64::from(ip.to_bits()));
                4
            }
            Some(IpAddr::V6(ip)) => {
                set(ADDRESS, ip.to_bits() as u64);
                set(MORE, (ip.to_bits() >> 64) as u64);
                at += 1;
                6
            }
        };
        let request = exchange.request;
        let mut meta = family << FAMILY_BITS | (exchange.ending as u64) << ENDING_BITS;
        meta |= (request.method() as u64) << METHOD_BITS;
        meta |= u64::from(exchange.status.code()) << STATUS_BITS;
        if let Some(id) = request.request_id() {
            let (id_words, _) = id.padded().as_chunks::<8>();
            if let Some(id_words) = id_words.first_chunk::<{ ID_BYTES / 8 }>() {
                // A loop would not be unrolled where bytes of the program count.
                let copy = |at: usize| set(ID + at, u64::from_le_bytes(id_words[at]));
                copy(0);
                copy(1);
                copy(2);
                copy(3);
                copy(4);
            }
            meta |= said(0, id.len().min(ID_BYTES), id.len());
        }
        let route = exchange.route.as_bytes();
        let len = pack(words, at, route, ROUTE_BYTES);
        meta |= said(1, len, route.len());
        let path_len = pack(words, at + len.div_ceil(8), path, PATH_BYTES);
        meta |= said(2, path_len, path.len());
        set(META, meta);
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

/// What the meta word says of one of the texts: the bytes that are kept, and whether it was cut.
#[inline(always)]
fn said(text: u32, kept: usize, len: usize) -> u64 {
    (kept as u64) << (text * LENGTH_BITS) | u64::from(kept < len) << (CUT_BIT + text)
}

/// Puts as much of a text as may be into words from one on; gives the bytes that this is.
fn pack(words: &[AtomicU64; WORDS], at: usize, text: &[u8], bytes_max: usize) -> usize {
    let text = text.get(..bytes_max).unwrap_or(text);
    let Some(places) = words.get(at..at + text.len().div_ceil(8)) else {
        return 0;
    };
    let (whole, end) = text.as_chunks::<8>();
    for (chunk, place) in whole.iter().zip(places) {
        place.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
    }
    if let (false, Some(place)) = (end.is_empty(), places.last()) {
        let last = text.len().checked_sub(8).and_then(|from| text.get(from..));
        let word = match last.and_then(|last| last.first_chunk()) {
            // What of it is there already is shifted out.
            Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * end.len()),
            None => end
                .iter()
                .rev()
                .fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        place.store(word, Ordering::Relaxed);
    }
    text.len()
}

/// The text of so many bytes in these words.
fn unpack(words: &[u64], len: usize) -> Vec<u8> {
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    bytes.take(len).collect()
}

fn write_record(record: &[u64; WORDS], worker: usize, out: &mut Vec<u8>) {
    let meta = record[META];
    let family = meta >> FAMILY_BITS & 0xf;
    let mut at = MORE + usize::from(family == 6);
    let mut text = |text: u32, from: Option<usize>| {
        let len = (meta >> (text * LENGTH_BITS) & 0xff) as usize;
        let mut shown = unpack(record.get(from.unwrap_or(at)..).unwrap_or_default(), len);
        if from.is_none() {
            at += len.div_ceil(8);
        }
        if meta >> (CUT_BIT + text) & 1 != 0 {
            // One byte more than is shown has the writer say that there was more.
            shown.push(b'.');
        }
        (shown, len)
    };
    let [id, route, path] = [text(0, Some(ID)), text(1, None), text(2, None)];
    let mut object = Object::new(out);
    object.string("ended", write_stamp(record[ENDED] / 1_000));
    object.clipped("request_id", &id.0, id.1);
    match family {
        4 => object.display("client_ip", &Ipv4Addr::from_bits(record[ADDRESS] as u32)),
        6 => {
            let bits = u128::from(record[MORE]) << 64 | u128::from(record[ADDRESS]);
            object.display("client_ip", &Ipv6Addr::from_bits(bits));
        }
        _ => object.string("client_ip", "unix"),
    }
    let method = Method::ALL.get((meta >> METHOD_BITS & 0xff) as usize);
    object.string("method", method.map_or("", |method| method.as_str()));
    object.clipped("path", &path.0, path.1);
    object.clipped("route", &route.0, route.1);
    object.number("status", meta >> STATUS_BITS);
    object.number("bytes", record[BYTES]);
    let ending = Ending::ALL.get((meta >> ENDING_BITS & 0xff) as usize);
    object.string("ending", ending.map_or("", |ending| ending.name()));
    let (receive, send) = (record[STAGES] >> 32, record[STAGES] & 0xffff_ffff);
    object.seconds("receive", receive);
    object.seconds("handle", record[DURATION].saturating_sub(send));
    object.seconds("send", send);
    object.seconds("duration", record[DURATION]);
    object.number("worker", worker as u64);
    object.end();
}

// Lengths are said in so many bits.
const _: () = assert!(ID_BYTES < 256 && ROUTE_BYTES < 256 && PATH_BYTES < 256);

#[cfg(test)]
mod tests {
    use super::*;
    use aureon::Status;
    use aureon::app::Peer;
    use aureon::app::RequestId;
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
            ring.record(&exchange, request.client(), request.head().path_bytes());
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
