//! Unpacks the built-in page, which `build.rs` packs.
//!
//! A packed text is a row of pieces: a byte with two counts, as many plain bytes as the upper four
//! bits say, then what is copied from before: as many bytes as the lower four bits and
//! [`COPY_BYTES_MIN`] say, from as far back as the number that follows. A count of 15 goes on in a
//! number of its own. After the last plain bytes nothing is copied.
//!
//! So a few lines read it, where deflate takes more code than it would save. `build.rs` proves
//! with this same file that the page comes out whole.

/// Bytes that a copy has at least: a shorter one is no shorter than its bytes.
pub(crate) const COPY_BYTES_MIN: usize = 3;

/// The count that goes on in a number.
pub(crate) const COUNT_MAX: usize = 15;

/// The text of `packed`; `None` if it is not one.
pub(crate) fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let mut rest = packed;
    let mut text = Vec::new();
    loop {
        let counts = usize::from(*rest.split_off_first()?);
        let plain = take_count(&mut rest, counts >> 4)?;
        text.extend_from_slice(rest.split_off(..plain)?);
        if rest.is_empty() {
            return Some(text);
        }
        let length = take_count(&mut rest, counts & COUNT_MAX)? + COPY_BYTES_MIN;
        let from = text.len().checked_sub(take_number(&mut rest)?)?;
        // Byte by byte: a copy may begin in what it copies.
        for at in from..from + length {
            text.push(*text.get(at)?);
        }
    }
}

fn take_count(rest: &mut &[u8], count: usize) -> Option<usize> {
    match count {
        COUNT_MAX => Some(COUNT_MAX + take_number(rest)?),
        count => Some(count),
    }
}

/// Seven bits a byte, the lowest first; the eighth says that another follows. At most two bytes.
fn take_number(rest: &mut &[u8]) -> Option<usize> {
    let low = usize::from(*rest.split_off_first()?);
    if low < 128 {
        return Some(low);
    }
    let high = usize::from(*rest.split_off_first()?);
    Some(high << 7 | low & 127)
}
