//! Writes the lines of the access log into room that was made once: who begins a line says how
//! long it is at most, and nothing of it asks for room again.
//!
//! Every exchange has a line, and in the shipped artifact, which is built for size, each append to
//! a growing vector is four calls. Here what is constant is a few stores, numbers are eight digits
//! at once, and text is looked at while it is copied. No formatting of std's but for IPv6. Called
//! by `line`; a line that is longer than was said is a mistake of ours and is cut.

use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};

use crate::json::{DIGITS_END, ODD_BITS, ZEROS, digits, odd_bits, short_number, write_odd_text};

/// Lines on their way to the log.
#[derive(Debug)]
pub struct Page {
    /// What is behind `used` is room, whatever is in it.
    bytes: Vec<u8>,
    used: usize,
    known: Known,
}

/// The address that was written last: requests of one client come together.
#[derive(Debug)]
struct Known {
    address: IpAddr,
    text: [u8; ADDRESS_BYTES],
    len: usize,
}

/// Bytes of the longest address, an IPv6 one that ends as an IPv4 one: 45, in whole words.
const ADDRESS_BYTES: usize = 48;

/// Bytes of the longest IPv4 address, likewise.
const IPV4_BYTES: usize = 16;

/// The end of a page that is written on.
#[derive(Debug)]
pub struct Pen<'a> {
    room: &'a mut [u8],
    at: usize,
    known: &'a mut Known,
}

/// Bytes that a word takes, whatever its length is.
const WORD: usize = 8;

/// Room behind a line, for what is written longer than it is.
const SLACK_BYTES: usize = IPV4_BYTES;

impl Page {
    /// An empty one, without memory.
    pub const fn new() -> Page {
        Page {
            bytes: Vec::new(),
            used: 0,
            known: Known {
                address: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                text: [b':'; ADDRESS_BYTES],
                len: 2,
            },
        }
    }

    /// What was written.
    #[inline]
    pub fn written(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }

    /// Forgets what was written and keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// Has at most so many bytes written at the end.
    #[inline]
    pub fn write(&mut self, bytes_max: usize, write: impl FnOnce(&mut Pen<'_>)) {
        let end = self.used + bytes_max + SLACK_BYTES;
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
        }
        let mut pen = Pen {
            room: &mut self.bytes,
            at: self.used,
            known: &mut self.known,
        };
        write(&mut pen);
        self.used = pen.at;
    }
}

impl Default for Page {
    fn default() -> Page {
        Page::new()
    }
}

impl Known {
    #[cold]
    fn learn(&mut self, address: IpAddr) {
        self.address = address;
        self.len = match address {
            IpAddr::V4(address) => {
                let mut at = 0;
                for number in address.octets() {
                    let (word, len) = octet(number);
                    if let Some(place) = self.text.get_mut(at..at + WORD) {
                        place.copy_from_slice(&word.to_le_bytes());
                    }
                    at += len;
                }
                // Without the last point.
                at - 1
            }
            IpAddr::V6(address) => {
                let mut rest = &mut self.text[..];
                // The longest fits.
                drop(write!(rest, "{address}"));
                let left = rest.len();
                ADDRESS_BYTES - left
            }
        };
    }
}

impl Pen<'_> {
    /// Bytes of the page up to here.
    pub fn place(&self) -> usize {
        self.at
    }

    /// Writes a piece whose length is known here; gives it, to change what is not constant.
    #[inline(always)]
    pub fn fixed<const N: usize>(&mut self, piece: &[u8; N]) -> Option<&mut [u8; N]> {
        let place = self.room.get_mut(self.at..)?.first_chunk_mut::<N>();
        debug_assert!(place.is_some());
        let place = place?;
        self.at += N;
        *place = *piece;
        Some(place)
    }

    /// Writes bytes as they are.
    #[inline(never)]
    pub fn put(&mut self, bytes: &[u8]) {
        let place = self.room.get_mut(self.at..self.at + bytes.len());
        debug_assert!(place.is_some());
        if let Some(place) = place {
            place.copy_from_slice(bytes);
            self.at += bytes.len();
        }
    }

    /// Writes the first `len` bytes of a word.
    #[inline(always)]
    fn word(&mut self, word: u64, len: usize) {
        if self.fixed(&word.to_le_bytes()).is_some() {
            self.at -= WORD - len;
        }
    }

    /// Writes a byte so many times.
    pub fn repeat(&mut self, byte: u8, count: usize) {
        for _ in 0..count {
            self.fixed(&[byte]);
        }
    }

    /// Writes a decimal number.
    #[inline(never)]
    pub fn number(&mut self, value: u64) {
        if value >= DIGITS_END {
            return self.long_number(value);
        }
        let (word, len) = short_number(value as u32);
        self.word(word, len);
    }

    #[cold]
    fn long_number(&mut self, value: u64) {
        self.number(value / DIGITS_END);
        self.word(digits((value % DIGITS_END) as u32), WORD);
    }

    /// Writes the first `max` bytes of a text as they stand between the quotes of a JSON string,
    /// and an ellipsis when that is not all.
    #[inline(always)]
    pub fn text(&mut self, text: &[u8], max: usize) {
        match text.get(..max) {
            Some(shown) if shown.len() < text.len() => self.cut_text(shown),
            _ if text.is_empty() => {}
            _ => self.whole_text(text),
        }
    }

    #[cold]
    fn cut_text(&mut self, shown: &[u8]) {
        self.whole_text(shown);
        self.put("\u{2026}".as_bytes());
    }

    #[inline(never)]
    fn whole_text(&mut self, text: &[u8]) {
        let before = self.at;
        let mut odd = 0;
        if let Some(last) = text.last_chunk::<WORD>() {
            for word in text.as_chunks::<WORD>().0 {
                odd |= odd_bits(u64::from_le_bytes(*word));
                self.fixed(word);
            }
            // Some of it is there already; that is cheaper than byte by byte.
            odd |= odd_bits(u64::from_le_bytes(*last));
            self.at = before + text.len() - WORD;
            self.fixed(last);
        } else {
            let mut word = 0;
            for byte in text.iter().rev() {
                word = word << 8 | u64::from(*byte);
            }
            // Plain where the word has none of the text.
            odd = odd_bits(word | ZEROS << (8 * text.len()));
            self.word(word, text.len());
        }
        if odd & ODD_BITS != 0 {
            // Written once more, with escapes: nearly every text is plain from end to end.
            self.at = before;
            self.odd_text(text);
        }
    }

    #[cold]
    fn odd_text(&mut self, text: &[u8]) {
        let mut escaped = Vec::new();
        write_odd_text(&mut escaped, text);
        self.put(&escaped);
    }

    /// Writes an address.
    #[inline(never)]
    pub fn address(&mut self, address: IpAddr) {
        if address != self.known.address {
            self.known.learn(address);
        }
        let len = self.known.len;
        let short = self.known.text.first_chunk::<IPV4_BYTES>().copied();
        match short {
            Some(short) if len <= IPV4_BYTES => {
                if self.fixed(&short).is_some() {
                    self.at -= IPV4_BYTES - len;
                }
            }
            _ => {
                let text = self.known.text;
                self.put(text.get(..len).unwrap_or_default());
            }
        }
    }
}

/// The digits of an octet without zeros before them and a point behind them, and how many bytes
/// that is.
#[inline(always)]
fn octet(octet: u8) -> (u64, usize) {
    let number = u64::from(octet);
    let hundreds = (number * 41) >> 12;
    let rest = number - hundreds * 100;
    let tens = (rest * 103) >> 10;
    let shown = hundreds | tens << 8 | (rest - tens * 10) << 16 | 0x2e30_3030;
    let zeros = usize::from(octet < 100) + usize::from(octet < 10);
    (shown >> (8 * zeros), 4 - zeros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes_max: usize, write: impl FnOnce(&mut Pen<'_>)) -> String {
        let mut page = Page::new();
        // Behind something and before something.
        page.write(1, |pen| pen.put(b"("));
        page.write(bytes_max, write);
        page.write(1, |pen| pen.put(b")"));
        let text = String::from_utf8(page.written().to_vec()).unwrap();
        let inner = text
            .strip_prefix('(')
            .and_then(|text| text.strip_suffix(')'));
        inner.unwrap().to_owned()
    }

    #[test]
    fn numbers_are_written_as_format_writes_them() {
        let powers = (0..20).map(|power| 10u64.pow(power));
        let edges = powers.flat_map(|power| [power - 1, power, power + 1, power / 7 * 9]);
        let large = (0..64).map(|bit| u64::MAX >> bit);
        for value in edges.chain(large).chain(0..20_000) {
            assert_eq!(written(20, |pen| pen.number(value)), value.to_string());
        }
        for value in (0..DIGITS_END as u32).step_by(997) {
            let text = format!("{value:08}");
            assert_eq!(digits(value).to_le_bytes(), text.as_bytes());
        }
    }

    #[test]
    fn addresses_are_written_as_format_writes_them() {
        for octet in 0..=255u8 {
            for octets in [[octet, 9, 10, 99], [100, octet, 255, octet]] {
                let address = IpAddr::from(octets);
                assert_eq!(written(45, |pen| pen.address(address)), address.to_string());
            }
        }
        for text in [
            "::",
            "2001:db8::1",
            "::ffff:1.2.3.4",
            "1111:2222:3333:4444:5555:6666:7777:8888",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(written(45, |pen| pen.address(address)), text);
        }
        let (one, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([0; 16]));
        let both = written(90, |pen| {
            for address in [one, one, other, other, one] {
                pen.address(address);
            }
        });
        assert_eq!(both, "127.0.0.1127.0.0.1::::127.0.0.1");
    }

    #[test]
    fn text_reads_back_as_itself_wherever_it_needs_an_escape() {
        for length in 0..20 {
            let plain = "x".repeat(length);
            assert_eq!(written(20, |pen| pen.text(plain.as_bytes(), 20)), plain);
            for (at, byte) in (0..length).flat_map(|at| (0..128u8).map(move |byte| (at, byte))) {
                let mut bytes = plain.clone().into_bytes();
                bytes[at] = byte;
                let text = written(6 * length, |pen| pen.text(&bytes, 20));
                let read: String = serde_json::from_str(&format!("\"{text}\"")).unwrap();
                assert_eq!(read.as_bytes(), bytes);
                assert_eq!(
                    text.len() == length,
                    (b' '..=b'~').contains(&byte) && !b"\"\\".contains(&byte)
                );
            }
        }
        assert_eq!(written(20, |pen| pen.text(b"a\xffb", 20)), "a\u{fffd}b");
        assert_eq!(
            written(20, |pen| pen.text(b"abcdefghij", 9)),
            "abcdefghi\u{2026}"
        );
    }
}
