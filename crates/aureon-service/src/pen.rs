//! Writes the lines of the access log into room that was made once: who begins a line says how
//! long it is at most, and nothing of it asks for room again.
//!
//! Every exchange has a line, and in the shipped artifact, which is built for size, each append to
//! a growing vector is four calls. Here what is constant is a few stores, and numbers are eight
//! digits at once. Nothing is formatted by std. Called by `line` and `kept`; a line that is longer
//! than was said is a mistake of ours and is cut.

use crate::json::{DIGITS_END, digits, short_number};

/// Lines on their way to the log.
#[derive(Debug)]
pub struct Page {
    /// What is behind `used` is room, whatever is in it.
    bytes: Vec<u8>,
    used: usize,
}

/// Writes into room, from its beginning. Small, so that it lives in registers: what is called and
/// not inlined is given the room and says how much of it was used.
#[derive(Debug)]
pub struct Pen<'a> {
    rest: &'a mut [u8],
    room_bytes: usize,
}

/// Bytes that are copied at once.
pub const BLOCK_BYTES: usize = 16;

/// Room behind a line, for what is written longer than it is: at most a piece of this many bytes.
const SLACK_BYTES: usize = 80;

impl Page {
    /// An empty one, without memory.
    pub const fn new() -> Page {
        Page {
            bytes: Vec::new(),
            used: 0,
        }
    }

    /// What was written.
    #[inline]
    pub fn written(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }

    /// How much that is.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Forgets what was written and keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// Has at most so many bytes written at the end; `write` gives their number.
    #[inline(always)]
    pub fn write(&mut self, bytes_max: usize, write: impl FnOnce(&mut [u8]) -> usize) {
        let end = self.used + bytes_max + SLACK_BYTES;
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
        }
        if let Some(room) = self.bytes.get_mut(self.used..) {
            self.used += write(room);
        }
    }
}

impl Default for Page {
    fn default() -> Page {
        Page::new()
    }
}

impl<'a> Pen<'a> {
    /// Writes at the beginning of this room.
    #[inline(always)]
    pub fn new(room: &'a mut [u8]) -> Pen<'a> {
        Pen {
            room_bytes: room.len(),
            rest: room,
        }
    }

    /// Bytes that were written.
    #[inline(always)]
    pub fn written(&self) -> usize {
        self.room_bytes - self.rest.len()
    }

    /// Leaves so many bytes as they are.
    #[inline(always)]
    pub fn skip(&mut self, bytes: usize) {
        self.rest = std::mem::take(&mut self.rest)
            .get_mut(bytes..)
            .unwrap_or_default();
    }

    /// Gives the next bytes.
    #[inline(always)]
    pub fn ahead<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        let place = self.rest.first_chunk_mut::<N>();
        debug_assert!(place.is_some());
        place
    }

    /// Writes a piece whose length is known here.
    #[inline(always)]
    pub fn fixed<const N: usize>(&mut self, piece: &[u8; N]) {
        self.padded(piece, N);
    }

    /// Writes the first `len` bytes of a piece.
    #[inline(always)]
    pub fn padded<const N: usize>(&mut self, piece: &[u8; N], len: usize) {
        if let Some(place) = self.ahead::<N>() {
            *place = *piece;
            self.skip(len);
        }
    }

    /// Writes the first `len` bytes of whole blocks.
    #[inline(always)]
    pub fn blocks(&mut self, (blocks, len): (&[u8], usize)) {
        let (places, _) = self.rest.as_chunks_mut::<BLOCK_BYTES>();
        for (place, block) in places.iter_mut().zip(blocks.as_chunks().0) {
            *place = *block;
        }
        self.skip(len);
    }

    /// Writes bytes as they are.
    #[inline(always)]
    pub fn copy(&mut self, bytes: &[u8]) {
        let written = copy(self.rest, bytes);
        self.skip(written);
    }

    /// The same, for where bytes of the program count more than instructions.
    #[inline(never)]
    pub fn put(&mut self, bytes: &[u8]) {
        self.copy(bytes);
    }

    /// Writes a byte so many times.
    pub fn repeat(&mut self, byte: u8, count: usize) {
        for _ in 0..count {
            self.put(&[byte]);
        }
    }

    /// Writes a decimal number.
    #[inline(never)]
    pub fn number(&mut self, value: u64) {
        if value >= DIGITS_END {
            self.number(value / DIGITS_END);
            self.fixed(&digits((value % DIGITS_END) as u32).to_le_bytes());
        } else {
            let (word, len) = short_number(value as u32);
            self.padded(&word.to_le_bytes(), len);
        }
    }
}

#[inline]
fn copy(room: &mut [u8], bytes: &[u8]) -> usize {
    let place = room.get_mut(..bytes.len());
    debug_assert!(place.is_some());
    place.map_or(0, |place| {
        place.copy_from_slice(bytes);
        bytes.len()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes_max: usize, write: impl FnOnce(&mut Pen<'_>)) -> String {
        let mut page = Page::new();
        // Behind something and before something.
        let mut add = |bytes_max, write: &mut dyn FnMut(&mut Pen<'_>)| {
            page.write(bytes_max, |room| {
                let mut pen = Pen::new(room);
                write(&mut pen);
                pen.written()
            });
        };
        let mut write = Some(write);
        add(1, &mut |pen| pen.put(b"("));
        add(bytes_max, &mut |pen| write.take().unwrap()(pen));
        add(1, &mut |pen| pen.put(b")"));
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
}
