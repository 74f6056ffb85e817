//! Request ids: taken over from a proxy or made here, returned to the client, seen by the log.
//!
//! An id made here is a UUIDv7 (RFC 9562 §5.7): ids sort by time and need no coordination.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

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
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let high = unix_ms << 16 | 0x7000 | (random[0] & 0x0fff);
        let low = (random[1] & (u64::MAX >> 2)) | 1 << 63;
        let mut bytes = [0; REQUEST_ID_BYTES_MAX];
        let mut at = 0;
        for (index, byte) in [high, low]
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .enumerate()
        {
            if matches!(index, 4 | 6 | 8 | 10) {
                bytes[at] = b'-';
                at += 1;
            }
            bytes[at] = DIGITS[usize::from(byte >> 4)];
            bytes[at + 1] = DIGITS[usize::from(byte & 15)];
            at += 2;
        }
        RequestId {
            bytes,
            len: at as u8,
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Only ASCII was let in.
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
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
        let id = believed.then(given).flatten().unwrap_or_else(|| {
            // A clock before 1970 gives ids of 1970.
            let since = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            RequestId::v7(since.as_millis() as u64, random())
        });
        request.set_id(id);
        None
    }

    fn after(&self, request: &Request<'_>, response: &mut Response) {
        if let Some(id) = request.id() {
            response.set_field("X-Request-Id", id);
        }
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
