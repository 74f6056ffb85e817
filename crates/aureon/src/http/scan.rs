//! Classes of bytes and the scans over them (RFC 9110 §5.6.2 and §5.5, RFC 3986 §2).
//!
//! Each scan answers one question, "how many bytes from here are of this class". Field values, the
//! bulk of a browser's head, are scanned eight bytes at a time; names and targets are short, there
//! a table is as fast, and four of its answers share a branch.

const TOKEN: u8 = 1;
const PATH: u8 = 2;
const QUERY: u8 = 4;
const HOST: u8 = 8;
const NAME: u8 = 16;
const DIGIT: u8 = 32;

/// One row for each byte: the classes that it is in.
static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let alphanumeric = b.is_ascii_alphanumeric();
        // tchar, RFC 9110 §5.6.2.
        if alphanumeric || among(b, b"!#$%&'*+-.^_`|~") {
            table[byte] |= TOKEN;
        }
        // Looser than RFC 3986: browsers send | { } ^ ` \ as they are (WHATWG URL §1.3), so any
        // visible ASCII passes but the three that delimit text and '#', which only a fragment
        // has and RFC 9112 §3.2 leaves no room for.
        if b.is_ascii_graphic() && !among(b, b"\"<>#") {
            table[byte] |= QUERY;
            // Some systems take a backslash for a slash: in a path it is refused.
            if !among(b, b"?\\") {
                table[byte] |= PATH;
            }
        }
        // Host and port. Stricter than reg-name in RFC 3986 §3.2.2: no name that resolves has
        // percent signs or sub-delims, and some of them are lists or quotes to somebody.
        if alphanumeric || among(b, b"-._~:[]") {
            table[byte] |= HOST;
        }
        if alphanumeric || among(b, b"-._") {
            table[byte] |= NAME;
        }
        if b.is_ascii_digit() {
            table[byte] |= DIGIT;
        }
        byte += 1;
    }
    table
}

const fn among(byte: u8, set: &[u8]) -> bool {
    let mut i = 0;
    while i < set.len() {
        if set[i] == byte {
            return true;
        }
        i += 1;
    }
    false
}

/// A bit that stands for the name of a field in whatever case: the same name always has the same,
/// two of the usual names seldom do. A union of them says quickly that a field is not there.
#[inline]
pub const fn name_bit(name: &[u8]) -> u64 {
    let [first, .., last] = name else {
        return 1;
    };
    // Five bits of a letter are those that both cases share. The factors were searched for, so
    // that few of sixty usual names fall together.
    let sum = name.len() as u32 + 5 * (*first as u32 & 31) + 17 * (*last as u32 & 31);
    1u64.wrapping_shl(sum)
}

#[inline]
fn class_len(bytes: &[u8], class: u8) -> usize {
    let of = |byte: u8| CLASS[usize::from(byte)];
    let mut at = 0;
    while let Some([a, b, c, d]) = bytes[at..].first_chunk::<4>() {
        if of(*a) & of(*b) & of(*c) & of(*d) & class == 0 {
            break;
        }
        at += 4;
    }
    while bytes.get(at).is_some_and(|byte| of(*byte) & class != 0) {
        at += 1;
    }
    at
}

/// Bytes at the start that a token can have (RFC 9110 §5.6.2).
#[inline]
pub fn token_len(bytes: &[u8]) -> usize {
    class_len(bytes, TOKEN)
}

/// Bytes at the start that the path of a request target can have; stops at `?`.
#[inline]
pub fn path_len(bytes: &[u8]) -> usize {
    class_len(bytes, PATH)
}

/// Bytes at the start that the query of a request target can have.
#[inline]
pub fn query_len(bytes: &[u8]) -> usize {
    class_len(bytes, QUERY)
}

/// Bytes at the start that a host and its port can have (RFC 3986 §3.2.2, no userinfo).
#[inline]
pub fn host_len(bytes: &[u8]) -> usize {
    class_len(bytes, HOST)
}

/// Bytes at the start that the name of a host usually has: letters, digits, `-`, `.`, `_`.
#[inline]
pub fn name_len(bytes: &[u8]) -> usize {
    class_len(bytes, NAME)
}

/// Bytes at the start that are decimal digits.
#[inline]
pub fn digits_len(bytes: &[u8]) -> usize {
    class_len(bytes, DIGIT)
}

/// Bytes at the start that a field value can have: visible ASCII, space, tab and obs-text
/// (RFC 9110 §5.5). Stops at CR, LF, NUL, DEL and every other control.
#[inline]
pub fn value_len(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut at = 0;
    while let Some(word) = bytes[at..].first_chunk::<8>() {
        let x = u64::from_le_bytes(*word);
        // The lowest set bit is exact; a borrow can only make false hits above a true one.
        let below_space = x.wrapping_sub(ONES * 0x20) & !x;
        let delete = (x ^ (ONES * 0x7f)).wrapping_sub(ONES) & !(x ^ (ONES * 0x7f));
        let hits = (below_space | delete) & HIGH;
        if hits != 0 {
            at += (hits.trailing_zeros() / 8) as usize;
            if bytes[at] != b'\t' {
                return at;
            }
            at += 1;
            continue;
        }
        at += 8;
    }
    while let Some(byte) = bytes.get(at) {
        if (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f {
            return at;
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_scan_agrees_with_the_definition_at_every_offset() {
        for length in 0..40 {
            for at in 0..length {
                for byte in 0..=255u8 {
                    let mut bytes = vec![b'a'; length];
                    bytes[at] = byte;
                    let bad = (byte < 0x20 && byte != b'\t') || byte == 0x7f;
                    assert_eq!(
                        value_len(&bytes),
                        if bad { at } else { length },
                        "{byte} at {at}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_class_ends_at_the_same_byte_wherever_it_is() {
        for length in 0..12 {
            for at in 0..length {
                let mut bytes = vec![b'a'; length];
                bytes[at] = b' ';
                assert_eq!(token_len(&bytes), at);
                assert_eq!(path_len(&bytes), at);
            }
            assert_eq!(name_len(&vec![b'a'; length]), length);
        }
    }

    #[test]
    fn value_scan_passes_tabs_and_obs_text() {
        assert_eq!(value_len(b"\t\t\t\t\t\t\t\t\xff\x80\t\tabc\r\n"), 15);
    }

    #[test]
    fn the_bit_of_a_name_does_not_hang_on_its_case() {
        for name in ["Host", "X-Request-Id", "content-length", "DNT", "te"] {
            let bit = name_bit(name.as_bytes());
            assert_eq!(bit.count_ones(), 1);
            assert_eq!(bit, name_bit(name.to_ascii_uppercase().as_bytes()));
            assert_eq!(bit, name_bit(name.to_ascii_lowercase().as_bytes()));
        }
        assert_ne!(name_bit(b"user-agent"), name_bit(b"accept"));
        assert_eq!([name_bit(b""), name_bit(b"x")], [1, 1]);
    }

    #[test]
    fn classes_are_those_of_the_documents() {
        for byte in 0..=255u8 {
            let separator = b"\"(),/:;<=>?@[\\]{} ".contains(&byte);
            let token = byte.is_ascii_graphic() && !separator;
            assert_eq!(token_len(&[byte]) == 1, token, "{byte}");
        }
        assert_eq!(path_len(b"/a%20b?c"), 6);
        assert_eq!(query_len(b"?a=b&c|d e"), 8);
        assert_eq!(query_len(b"a#"), 1);
        assert_eq!(host_len(b"user@host"), 4);
        assert_eq!(
            [digits_len(b"08080:"), digits_len(b"80/"), digits_len(b"")],
            [5, 2, 0]
        );
        assert_eq!(host_len(b"[::1]:80/"), 8);
    }
}
