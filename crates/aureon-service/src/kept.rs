//! What a line of the access log has in common with those before it, kept as it was written.
//!
//! A client sends the same Host and User-Agent with every request, a service has few routes, and
//! the lines of one millisecond have one stamp: what is kept costs a comparison and a copy, where
//! writing it costs a look at each byte. A piece is used only where every byte that it was made of
//! is the same, so nothing of one client gets into another's line. Each worker has its own. Called
//! by `line`.

use std::io::Write;
use std::net::IpAddr;

use aureon::http::Method;

use crate::json::{is_plain, write_clipped, write_number};
use crate::line::TEXT_BYTES_MAX;
use crate::logging::Level;
use crate::pen::{BLOCK_BYTES, Pen};
use crate::stamp::Stamps;

/// Bytes of a line up to its path, in whole words.
pub const START_BYTES: usize = 80;

/// Bytes between the path and the duration, in whole words: names 32, a status, 20 digits, and what
/// a number is written with.
const RESULT_BYTES: usize = 64;

/// Routes that are kept. 8: what a page of a service asks for.
const ROUTES: usize = 8;

/// A length that no text has: what is written is not to be found again.
const NEVER: usize = usize::MAX;

const HOST: &[u8] = b"\",\"host\":\"";
const USER_AGENT: &[u8] = b"\",\"user_agent\":\"";
const REQUEST_ID: &[u8] = b"\",\"request_id\":\"";
const ROUTE: &[u8] = b"\",\"route\":\"";

/// What is kept from line to line.
#[derive(Debug)]
pub struct Kept {
    /// When.
    pub stamps: Stamps,
    /// When, how bad it was, and what was asked.
    pub start: Start,
    /// What came of it.
    pub result: Outcome,
    /// Who asked.
    pub client: Client,
    /// What answered.
    pub routes: Routes,
    /// What few lines have; kept for its memory.
    pub rare: Vec<u8>,
}

impl Default for Kept {
    fn default() -> Kept {
        Kept {
            stamps: Stamps::new(),
            start: Start {
                ms_us: 0,
                level: Level::Error,
                method: None,
                len: 0,
                text: [0; START_BYTES],
            },
            result: Outcome {
                status: 0,
                bytes: 0,
                len: 0,
                text: [0; RESULT_BYTES],
            },
            client: Client {
                address: None,
                address_len: 0,
                host_len: NEVER,
                user_agent_len: NEVER,
                text: Text::default(),
            },
            routes: Routes(std::array::from_fn(|_| Route {
                len: NEVER,
                text: Text::default(),
            })),
            rare: Vec::new(),
        }
    }
}

/// A text in whole blocks, so that it is copied without a look at its length.
#[derive(Debug, Default)]
pub struct Text {
    blocks: Vec<u8>,
    len: usize,
}

impl Text {
    fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.blocks.truncate(self.len);
        write(&mut self.blocks);
        self.len = self.blocks.len();
        self.blocks
            .resize(self.len.next_multiple_of(BLOCK_BYTES), 0);
    }

    fn clear(&mut self) {
        self.len = 0;
    }

    /// The text with what fills its last block, and how much of that counts.
    #[inline(always)]
    pub fn blocks(&self) -> (&[u8], usize) {
        (&self.blocks, self.len)
    }
}

/// What stands before the path.
#[derive(Debug)]
pub struct Start {
    /// The first microsecond of the millisecond that the text is of.
    ms_us: u64,
    level: Level,
    method: Option<Method>,
    /// None when nothing was written yet.
    len: usize,
    text: [u8; START_BYTES],
}

impl Start {
    /// The text of this moment, level and method, and how much of it counts.
    #[inline(always)]
    pub fn of(
        &mut self,
        unix_us: u64,
        level: Level,
        method: Option<Method>,
        stamps: &mut Stamps,
    ) -> (&[u8; START_BYTES], usize) {
        let late = unix_us.wrapping_sub(self.ms_us) >= 1_000;
        if late || level != self.level || method != self.method || self.len == 0 {
            self.learn(unix_us, level, method, stamps);
        }
        (&self.text, self.len)
    }

    #[inline(never)]
    fn learn(&mut self, unix_us: u64, level: Level, method: Option<Method>, stamps: &mut Stamps) {
        let stamp = stamps.at(unix_us);
        let mut pen = Pen::new(&mut self.text);
        pen.put(b"{\"ts\":\"");
        pen.put(stamp);
        if level == self.level && method == self.method && self.len != 0 {
            self.ms_us = stamps.ms_us();
            return;
        }
        let name = method.map_or("", Method::as_str);
        let parts = [
            "\",\"level\":\"",
            level.name(),
            "\",\"method\":\"",
            name,
            "\",\"path\":\"",
        ];
        for part in parts {
            pen.put(part.as_bytes());
        }
        self.len = pen.written();
        self.ms_us = stamps.ms_us();
        (self.level, self.method) = (level, method);
    }
}

/// What stands between the path and the duration: most answers of a service are of few lengths.
#[derive(Debug)]
pub struct Outcome {
    status: u16,
    bytes: u64,
    /// None when nothing was written yet.
    len: usize,
    text: [u8; RESULT_BYTES],
}

impl Outcome {
    /// The text of this status and count of bytes, and how much of it counts.
    #[inline(always)]
    pub fn of(&mut self, status: u16, bytes: u64) -> (&[u8; RESULT_BYTES], usize) {
        if status != self.status || bytes != self.bytes || self.len == 0 {
            self.learn(status, bytes);
        }
        (&self.text, self.len)
    }

    #[inline(never)]
    fn learn(&mut self, status: u16, bytes: u64) {
        (self.status, self.bytes) = (status, bytes);
        let mut pen = Pen::new(&mut self.text);
        pen.put(b"\",\"status\":");
        pen.number(u64::from(status));
        pen.put(b",\"bytes\":");
        pen.number(bytes);
        pen.put(b",\"duration\":");
        self.len = pen.written();
    }
}

/// What stands between the name of the client's address and the value of the request's id.
#[derive(Debug)]
pub struct Client {
    address: Option<IpAddr>,
    address_len: usize,
    host_len: usize,
    user_agent_len: usize,
    text: Text,
}

impl Client {
    /// The text of this client, from his address to the name of the request's id.
    #[inline(always)]
    pub fn of(&mut self, address: Option<IpAddr>, host: &[u8], user_agent: &[u8]) -> &Text {
        if !self.is(address, host, user_agent) {
            self.learn(address, host, user_agent);
        }
        &self.text
    }

    #[inline(always)]
    fn is(&self, address: Option<IpAddr>, host: &[u8], user_agent: &[u8]) -> bool {
        let host_at = self.address_len + HOST.len();
        // Not counted before the lengths are known to be those of texts.
        let user_agent_at = || host_at + host.len() + USER_AGENT.len();
        self.host_len == host.len()
            && self.user_agent_len == user_agent.len()
            && is_address(self.address, address)
            && has(&self.text.blocks, host_at, host)
            && has(&self.text.blocks, user_agent_at(), user_agent)
    }

    #[inline(never)]
    fn learn(&mut self, address: Option<IpAddr>, host: &[u8], user_agent: &[u8]) {
        self.learn_address(address);
        // What is escaped or cut looks like another text, and has to be written each time.
        let as_it_is = |text: &[u8]| text.len() <= TEXT_BYTES_MAX && is_plain(text);
        if as_it_is(host) && as_it_is(user_agent) {
            (self.host_len, self.user_agent_len) = (host.len(), user_agent.len());
        }
        self.text.write(|out| {
            out.extend_from_slice(HOST);
            write_clipped(out, host, TEXT_BYTES_MAX);
            out.extend_from_slice(USER_AGENT);
            write_clipped(out, user_agent, TEXT_BYTES_MAX);
            out.extend_from_slice(REQUEST_ID);
        });
    }

    /// The text of an address.
    pub fn address(&mut self, address: Option<IpAddr>) -> &[u8] {
        if address != self.address || self.address_len == 0 {
            self.learn_address(address);
        }
        self.text.blocks.get(..self.address_len).unwrap_or_default()
    }

    fn learn_address(&mut self, address: Option<IpAddr>) {
        self.address = address;
        (self.host_len, self.user_agent_len) = (NEVER, NEVER);
        self.text.clear();
        self.text.write(|out| match address {
            Some(IpAddr::V4(address)) => {
                for octet in address.octets() {
                    write_number(out, u64::from(octet));
                    out.push(b'.');
                }
                // Without the last point.
                out.pop();
            }
            // Writing into a vector cannot fail.
            Some(IpAddr::V6(address)) => drop(write!(out, "{address}")),
            None => out.extend_from_slice(b"unix"),
        });
        self.address_len = self.text.len;
    }
}

/// The usual case of a comparison, written out.
#[inline(always)]
fn is_address(known: Option<IpAddr>, address: Option<IpAddr>) -> bool {
    match (known, address) {
        (Some(IpAddr::V4(known)), Some(IpAddr::V4(address))) => {
            known.to_bits() == address.to_bits()
        }
        _ => known == address,
    }
}

/// What stands behind the request's id, up to the quote behind the route; for some routes.
#[derive(Debug)]
pub struct Routes([Route; ROUTES]);

#[derive(Debug)]
struct Route {
    len: usize,
    text: Text,
}

impl Routes {
    /// The text of this route.
    #[inline(always)]
    pub fn of(&mut self, route: &str) -> &Text {
        // Templates lie somewhere each, so their places say well enough which is which.
        let known = &mut self.0[(route.as_ptr().addr() >> 4) % ROUTES];
        if known.len != route.len() || !has(&known.text.blocks, ROUTE.len(), route.as_bytes()) {
            known.learn(route.as_bytes());
        }
        &known.text
    }
}

impl Route {
    #[inline(never)]
    fn learn(&mut self, route: &[u8]) {
        self.len = if is_plain(route) { route.len() } else { NEVER };
        self.text.clear();
        self.text.write(|out| {
            out.extend_from_slice(ROUTE);
            write_clipped(out, route, usize::MAX);
        });
    }
}

/// Whether this is what a text has from a place on; eight bytes at a time.
#[inline(never)]
fn has(text: &[u8], at: usize, with: &[u8]) -> bool {
    let Some(text) = text.get(at..at + with.len()) else {
        return false;
    };
    for (word, other) in text.as_chunks::<8>().0.iter().zip(with.as_chunks::<8>().0) {
        if u64::from_le_bytes(*word) != u64::from_le_bytes(*other) {
            return false;
        }
    }
    match (last_word(text), last_word(with)) {
        // Some of it was looked at already; that is cheaper than byte by byte.
        (Some(word), Some(other)) => word == other,
        _ => text.iter().eq(with),
    }
}

/// The last eight bytes.
#[inline(always)]
fn last_word(text: &[u8]) -> Option<u64> {
    let last = text.get(text.len().checked_sub(8)?..)?;
    last.first_chunk().map(|word| u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Plain;
    use crate::line::{Form, Line};
    use crate::pen::Page;

    fn written(line: &Line<'_>, form: Form, kept: &mut Kept) -> String {
        let mut page = Page::new();
        line.write(form, kept, &mut page);
        String::from_utf8(page.written().to_vec()).unwrap()
    }

    /// Texts that look alike in some way: as they are sent, escaped, or cut.
    fn texts() -> Vec<Vec<u8>> {
        let mut texts: Vec<Vec<u8>> = [
            &b""[..],
            b"\\",
            b"\n",
            b"localhost:8080",
            b"1234567\"",
            b"1234567\\",
            b"a",
            b"localhost:8081",
            b"a.example",
            b"\\n",
            b"\\u000a",
            b"12345678\"",
            b"12345678\\\"",
            b"1234567\xf0\x90\x80",
            b"1234567\xef\xbf\xbd",
            b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/141.0",
        ]
        .map(<[u8]>::to_vec)
        .into();
        for len in [TEXT_BYTES_MAX - 1, TEXT_BYTES_MAX, TEXT_BYTES_MAX + 3] {
            texts.push(vec![b'x'; len]);
        }
        // What a text of three bytes too many looks like when it is cut.
        texts.push([&[b'x'; TEXT_BYTES_MAX][..], "\u{2026}".as_bytes()].concat());
        texts
    }

    /// xorshift64*: the same choices in each run.
    struct Choices(u64);

    impl Choices {
        fn below(&mut self, count: usize) -> usize {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % count
        }

        fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
            // Mostly one of the first, so that the same comes again.
            let few = all.len().min(5);
            let count = [few, few, all.len()][self.below(3)];
            &all[self.below(count)]
        }
    }

    fn line<'a>(choices: &mut Choices, texts: &'a [Vec<u8>], routes: &'a [String]) -> Line<'a> {
        let addresses = [
            "127.0.0.1",
            "::1",
            "127.0.0.2",
            "10.0.0.1",
            "2001:db8::7f00:1",
        ];
        let addresses = addresses.map(|text| text.parse::<IpAddr>().ok());
        Line {
            unix_us: 0,
            method: *choices.of(&[Some(Method::Get), Some(Method::Post), None]),
            path: Plain::literal(b"/some/where"),
            status: *choices.of(&[200, 404, 500]),
            bytes: *choices.of(&[0, 321, 99_999_999, 100_000_000, u64::MAX]),
            duration_us: *choices.of(&[0, 7, 999_999, 1_000_000, u64::MAX]),
            client: [addresses[0], *choices.of(&addresses), None][choices.below(3)],
            host: choices.of::<Vec<u8>>(texts),
            user_agent: choices.of::<Vec<u8>>(texts),
            referer: b"",
            slow: (choices.below(9) == 0).then_some("send"),
            request_id: None,
            route: choices.of::<String>(routes),
            ending: None,
            fault: None,
        }
    }

    #[test]
    fn lines_that_follow_each_other_are_those_of_each_alone() {
        let texts = texts();
        let forms = [Form::Json, Form::Json, Form::Combined, Form::Pretty(false)];
        let mut kept = Kept::default();
        let mut choices = Choices(0x9e37_79b9_7f4a_7c15);
        let mut routes = [const { String::new() }; 3];
        let mut unix_us = 1_795_334_703_042_999;
        for number in 0..30_000 {
            if number % 5 == 0 {
                // As after a reload: another route where one was before.
                let route = &mut routes[choices.below(3)];
                route.clear();
                route.reserve(2 * TEXT_BYTES_MAX);
                route.push_str(&String::from_utf8_lossy(choices.of::<Vec<u8>>(&texts)));
            }
            // Now and then back, as a clock is set.
            unix_us += *choices.of(&[0, 1, 300, 2_000, 1_000_000]);
            unix_us -= *choices.of(&[0, 0, 0, 0, 0, 700, 1_500_000]);
            let line = Line {
                unix_us,
                ..line(&mut choices, &texts, &routes)
            };
            let form = forms[choices.below(4)];
            let alone = written(&line, form, &mut Kept::default());
            // Twice, so that it is found where it was kept.
            for _ in 0..2 {
                assert_eq!(written(&line, form, &mut kept), alone);
            }
            if form == Form::Json {
                let read: serde_json::Value = serde_json::from_str(&alone).unwrap();
                assert_eq!(read["route"], line.route);
                assert_eq!(read["status"], line.status);
                assert_eq!(read["bytes"], line.bytes);
            }
        }
    }

    #[test]
    fn a_text_is_had_where_every_byte_is_the_same() {
        for len in 0..40 {
            let text: Vec<u8> = (0..len as u8).collect();
            let around = [&b"abc"[..], &text, b"de"].concat();
            assert!(has(&around, 3, &text));
            assert!(!has(&text, 1, &text));
            for at in 0..len {
                let mut other = text.clone();
                other[at] ^= 1;
                assert!(!has(&around, 3, &other), "{at} of {len}");
            }
        }
    }
}
