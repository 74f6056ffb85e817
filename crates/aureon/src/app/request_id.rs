//! Request ids: taken over from a proxy or made here, returned to the client, seen by the log.
//!
//! An id made here is a UUIDv7 (RFC 9562 §5.7): ids sort by time and need no coordination.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};

use super::{Middleware, Request, Response};
use crate::limits::REQUEST_ID_BYTES_MAX;

/// The id of a request: visible ASCII, at most 64 bytes, kept without allocating.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId {
    bytes: [u8; REQUEST_ID_BYTES_MAX],
    len: u8,
}

impl RequestId {
    /// Takes over an id. Only letters, digits and `-._~:+/=@` are let in, so that it can stand in
    /// any log.
    pub fn parse(text: &[u8]) -> Option<RequestId> {
        let fine = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:+/=@".contains(byte);
        if text.is_empty() || text.len() > REQUEST_ID_BYTES_MAX || !text.iter().all(fine) {
            return None;
        }
        let mut bytes = [0; REQUEST_ID_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text);
        Some(RequestId {
            bytes,
            len: text.len() as u8,
        })
    }

    /// A UUIDv7 of this time and 74 random bits.
    pub fn v7(unix_ms: u64, random: [u64; 2]) -> RequestId {
        let high = unix_ms << 16 | 0x7000 | (random[0] & 0x0fff);
        let low = (random[1] & (u64::MAX >> 2)) | 1 << 63;
        let mut bytes = [0; REQUEST_ID_BYTES_MAX];
        let (a, b) = (hex(high >> 32), hex(high & 0xffff_ffff));
        let (c, d) = (hex(low >> 32), hex(low & 0xffff_ffff));
        // 8-4-4-4-12 digits.
        bytes[..8].copy_from_slice(&a);
        bytes[8] = b'-';
        bytes[9..13].copy_from_slice(&b[..4]);
        bytes[13] = b'-';
        bytes[14..18].copy_from_slice(&b[4..]);
        bytes[18] = b'-';
        bytes[19..23].copy_from_slice(&c[..4]);
        bytes[23] = b'-';
        bytes[24..28].copy_from_slice(&c[4..]);
        bytes[28..36].copy_from_slice(&d);
        RequestId { bytes, len: 36 }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Only ASCII was let in.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The id as bytes, none of which needs an escape in a log or a field.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// How many bytes that is.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// The same with zeros behind it: what is copied whatever its length is.
    #[inline]
    pub fn padded(&self) -> &[u8; REQUEST_ID_BYTES_MAX] {
        &self.bytes
    }
}

/// The eight hexadecimal digits of a number of 32 bits, all at once.
fn hex(number: u64) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Four bits to each byte.
    let mut spread = number;
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    spread = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // Six more carries into the high half exactly for ten and above.
    let letters = ((spread + ONES * 6) >> 4) & ONES;
    (spread + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

impl std::fmt::Debug for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

thread_local! {
    static STATE: Cell<[u64; 2]> = const { Cell::new([0; 2]) };
}

/// Two words that differ from call to call: xorshift128+, seeded in each thread from the keys
/// that std draws from the system for its hash maps. Unique, not secret: an id names a request
/// and protects nothing.
fn random() -> [u64; 2] {
    STATE.with(|state| {
        let [mut a, mut b] = state.get();
        if a | b == 0 {
            let seed = |n: u64| {
                let mut hasher = RandomState::new().build_hasher();
                hasher.write_u64(n);
                hasher.finish() | 1
            };
            (a, b) = (seed(1), seed(2));
        }
        let mut next = || {
            let (mut x, y) = (a, b);
            a = y;
            x ^= x << 23;
            b = x ^ y ^ (x >> 17) ^ (y >> 26);
            b.wrapping_add(y)
        };
        let words = [next(), next()];
        state.set([a, b]);
        words
    })
}

/// Middleware that gives every request an id and returns it as `X-Request-Id`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestIds {
    trusted: bool,
}

impl RequestIds {
    /// Makes an id for each request, or takes over a well-formed `X-Request-Id` of a trusted proxy
    /// (see [`Router::trust`](super::Router::trust)).
    pub fn new() -> RequestIds {
        RequestIds::default()
    }

    /// Takes over a well-formed `X-Request-Id` of the client: for a server whose clients are
    /// proxies of one's own.
    #[must_use]
    pub fn trust_client(mut self) -> RequestIds {
        self.trusted = true;
        self
    }
}

impl Middleware for RequestIds {
    fn before(&self, request: &Request<'_>) -> Option<Response> {
        let given = || request.field("x-request-id").and_then(RequestId::parse);
        let believed = self.trusted || request.is_proxied();
        let id = believed
            .then(given)
            .flatten()
            .unwrap_or_else(|| RequestId::v7(request.unix_us() / 1_000, random()));
        request.set_id(id);
        None
    }

    fn after(&self, request: &Request<'_>, response: &mut Response) {
        if let Some(id) = request.request_id() {
            response.set_known("X-Request-Id", id.as_bytes());
        }
    }

    fn unhandled(&self, request: &Request<'_>, response: &mut Response) {
        self.before(request);
        self.after(request, response);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_its_time_version_and_variant() {
        // The example of RFC 9562 appendix A.6.
        let id = RequestId::v7(0x017f_22e2_79b0, [0xcc3, 0x18c4_dc0c_0c07_398f]);
        assert_eq!(id.as_str(), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
        let ones = RequestId::v7(0, [u64::MAX; 2]);
        assert_eq!(ones.as_str(), "00000000-0000-7fff-bfff-ffffffffffff");
    }

    #[test]
    fn digits_are_those_that_format_writes() {
        for number in [0, 1, 0x0123_4567, 0x89ab_cdef, 0xffff_ffff, 0x9a0f_f0a9] {
            assert_eq!(hex(number), format!("{number:08x}").as_bytes());
        }
    }

    #[test]
    fn only_what_can_stand_in_a_log_is_taken_over() {
        assert_eq!(
            RequestId::parse(b"Root=1-67a/b+c").unwrap().as_str(),
            "Root=1-67a/b+c"
        );
        assert!(RequestId::parse(&[b'a'; REQUEST_ID_BYTES_MAX]).is_some());
        for bad in [
            &b""[..],
            b"a b",
            b"a\"",
            b"\xc3\xbc",
            &[b'a'; REQUEST_ID_BYTES_MAX + 1],
        ] {
            assert_eq!(RequestId::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn random_words_do_not_repeat() {
        let mut seen: Vec<_> = (0..1_000).map(|_| random()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 1_000);
        let elsewhere = std::thread::spawn(random).join().unwrap();
        assert!(!seen.contains(&elsewhere));
    }
}
