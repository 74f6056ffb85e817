//! gzip on the fly (RFC 9110 §8.4.1.3, RFC 1952); the feature `gzip`.
//!
//! For answers that a handler made: in memory, of a type that compresses, neither so small that
//! it does not pay nor so large that it would hold up the worker. Files have precompressed
//! siblings instead. Never on a part of a representation (206, Content-Range), on what is
//! encoded already, or where `no-transform` forbids it. A strong ETag becomes weak, because it
//! promised bytes. Do not compress pages that show a secret beside what a stranger can put in
//! (the BREACH attack): `Cache-Control: no-transform` on them leaves them alone.

use std::cell::RefCell;

use miniz_oxide::DataFormat;
use miniz_oxide::deflate::core::{
    CompressorOxide, TDEFLFlush, TDEFLStatus, compress as compress_once,
};

use super::{Middleware, Request, Response};
use crate::http::Status;
use crate::limits::{GZIP_BYTES_MAX, GZIP_BYTES_MIN};

thread_local! {
    /// One for each thread, made when first needed and reset for each use: an encoder's tables
    /// take about 300 KiB, too much to allocate for every answer.
    static ENCODER: RefCell<Option<Box<CompressorOxide>>> = const { RefCell::new(None) };
}

/// Middleware that compresses answers for clients that take gzip.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compression {
    _private: (),
}

impl Compression {
    /// Bodies of 1 KiB to 256 KiB, level 5.
    pub fn new() -> Compression {
        Compression::default()
    }
}

impl Middleware for Compression {
    fn after(&self, request: &Request<'_>, response: &mut Response) {
        let bytes = response.body().as_bytes().map_or(0, <[u8]>::len);
        let note = |outcome: &[&str]| {
            if let Some(trace) = request.trace() {
                let subject = [&bytes.to_string(), " bytes"].concat();
                trace.note("gzip", &subject, outcome);
            }
        };
        if let Err(why) = eligible(response) {
            return note(&["no: ", why]);
        }
        // The answer depends on this field, for caches also when it comes out plain.
        response.add_vary("Accept-Encoding");
        if !request
            .head()
            .field_all("accept-encoding")
            .any(accepts_gzip)
        {
            return note(&["no: Accept-Encoding does not take it"]);
        }
        let Some(packed) = response.body().as_bytes().and_then(compress) else {
            return note(&["no: it would not be smaller"]);
        };
        note(&["yes: compressed on the fly"]);
        response.set_body(packed);
        response.set_field("Content-Encoding", "gzip");
        response.remove_field("Accept-Ranges");
        // RFC 9110 §8.8.1: two codings of one representation differ in bytes.
        let tag = response.field("etag").filter(|tag| tag.starts_with(b"\""));
        if let Some(weak) = tag.map(|tag| [b"W/", tag].concat()) {
            response.set_field("ETag", weak);
        }
    }
}

/// Whether compressing is possible and pays, or why not.
fn eligible(response: &Response) -> Result<(), &'static str> {
    let Some(bytes) = response.body().as_bytes().map(<[u8]>::len) else {
        return Err("the content is not in memory");
    };
    if response.status().has_no_content() || response.status() == Status::PARTIAL_CONTENT {
        return Err("it is a part of something, or nothing");
    }
    if bytes < GZIP_BYTES_MIN {
        return Err("so little does not pay");
    }
    if bytes > GZIP_BYTES_MAX {
        return Err("so much would hold up others");
    }
    const TYPE: Result<(), &str> = Err("its type does not shrink");
    let mut result = TYPE;
    for (name, value) in response.fields() {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if is("content-type") {
            result = if is_compressible(value) { Ok(()) } else { TYPE };
        } else if is("cache-control") {
            let directives = value.split(|byte| *byte == b',');
            if directives
                .into_iter()
                .any(|d| d.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
            {
                return Err("Cache-Control: no-transform forbids it");
            }
        } else if is("content-encoding") {
            return Err("it is compressed already");
        } else if is("content-range") || is("content-digest") || is("repr-digest") {
            return Err("it is a part, or its digest is told");
        }
    }
    result
}

/// Whether a media type is text in disguise.
fn is_compressible(content_type: &[u8]) -> bool {
    let essence = content_type
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default();
    let essence = essence.trim_ascii();
    let starts = |start: &[u8]| {
        let own = essence.get(..start.len());
        own.is_some_and(|own| own.eq_ignore_ascii_case(start))
    };
    let ends = |end: &[u8]| {
        let own = essence.len().checked_sub(end.len());
        own.is_some_and(|at| essence[at..].eq_ignore_ascii_case(end))
    };
    starts(b"text/")
        || ends(b"+json")
        || ends(b"+xml")
        || [
            &b"application/json"[..],
            b"application/javascript",
            b"application/xml",
            b"application/wasm",
            b"application/x-www-form-urlencoded",
        ]
        .iter()
        .any(|known| essence.eq_ignore_ascii_case(known))
}

/// Whether an Accept-Encoding value takes gzip (RFC 9110 §12.5.3): it or `*`, the former winning,
/// with a weight above zero.
fn accepts_gzip(value: &[u8]) -> bool {
    let mut any = false;
    for element in value.split(|byte| *byte == b',') {
        let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|p| p.strip_prefix(b"q=").or_else(|| p.strip_prefix(b"Q=")));
        // Zero is "0" or "0.", with up to three zeros behind; a weight we cannot read is no zero.
        let taken = weight
            .is_none_or(|q| !q.starts_with(b"0") || q.iter().any(|b| b"123456789".contains(b)));
        if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") {
            return taken;
        }
        any |= name == b"*" && taken;
    }
    any
}

/// The bytes as one gzip member, `None` when that would not be smaller.
fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    ENCODER.with(|encoder| {
        let mut encoder = encoder.try_borrow_mut().ok()?;
        let encoder = encoder.get_or_insert_default();
        // Level 5, as Caddy.
        encoder.set_format_and_level(DataFormat::Raw, 5);
        encoder.reset();
        // What does not fit would be no smaller than what went in.
        let mut out = vec![0; bytes.len()];
        let (head, rest) = out.split_first_chunk_mut()?;
        *head = MEMBER_HEAD;
        let room = rest.len().checked_sub(MEMBER_END_BYTES + 1)?;
        let finish = TDEFLFlush::Finish;
        let (status, _, packed) = compress_once(encoder, bytes, &mut rest[..room], finish);
        if status != TDEFLStatus::Done {
            return None;
        }
        out.truncate(MEMBER_HEAD.len() + packed);
        out.extend_from_slice(&crc32(bytes).to_le_bytes());
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        Some(out)
    })
}

/// RFC 1952 §2.3: gzip, deflate, no flags, no time, no hint, system unknown.
const MEMBER_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// After the content: its checksum, and how long it was.
const MEMBER_END_BYTES: usize = 8;

/// The checksum of RFC 1952 §8, a byte at a time: 1 KB of table where the crates have 8 and 16,
/// and a tenth of the time that compressing takes.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut n = 0;
        while n < 256 {
            let mut c = n as u32;
            let mut bit = 0;
            while bit < 8 {
                c = if c & 1 == 1 {
                    0xedb8_8320 ^ (c >> 1)
                } else {
                    c >> 1
                };
                bit += 1;
            }
            table[n] = c;
            n += 1;
        }
        table
    };
    let step = |crc: u32, byte: &u8| TABLE[(crc as u8 ^ byte) as usize] ^ (crc >> 8);
    !bytes.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Answer, Ask, Client, Router};
    use std::io::Read;

    fn unpacked(mut bytes: &[u8]) -> String {
        let mut out = String::new();
        // The library's reader checks the header, the checksum and the length.
        flate2::bufread::GzDecoder::new(&mut bytes)
            .read_to_string(&mut out)
            .unwrap();
        assert!(bytes.is_empty());
        out
    }

    fn text() -> String {
        "all work and no play ".repeat(100)
    }

    fn check(make: fn() -> Response, accept: &str, look: impl FnOnce(&Answer)) {
        let mut router = Router::new();
        router.with(Compression::new()).get("/", move |_| make());
        let client = Client::new(router.build().unwrap());
        look(&client.send(&Ask::get("/").field("Accept-Encoding", accept)));
    }

    #[test]
    fn a_text_is_compressed_for_those_who_take_it() {
        let make = || Response::text(text()).with_field("ETag", "\"a\"");
        check(make, "br, gzip", |answer| {
            assert_eq!(answer.field("content-encoding"), Some("gzip"));
            assert_eq!(answer.field("vary"), Some("Accept-Encoding"));
            assert_eq!(answer.field("etag"), Some("W/\"a\""));
            assert_eq!(unpacked(answer.bytes()), text());
        });
        check(make, "br", |answer| {
            assert_eq!(answer.field("content-encoding"), None);
            assert_eq!(answer.field("vary"), Some("Accept-Encoding"));
            assert_eq!(answer.field("etag"), Some("\"a\""));
            assert_eq!(answer.text(), text());
        });
    }

    #[test]
    fn what_must_not_or_need_not_be_compressed_is_left_alone() {
        let untouched = |answer: &Answer| {
            assert_eq!(answer.field("content-encoding"), None);
            assert_eq!(answer.field("vary"), None);
        };
        check(|| Response::text("short"), "gzip", untouched);
        check(|| Response::bytes("image/png", text()), "gzip", untouched);
        check(
            || Response::text("a".repeat(GZIP_BYTES_MAX + 1)),
            "gzip",
            untouched,
        );
        check(
            || Response::text(text()).with_status(Status::PARTIAL_CONTENT),
            "gzip",
            untouched,
        );
        check(
            || Response::text(text()).with_field("Content-Range", "bytes */1"),
            "gzip",
            untouched,
        );
        let still = || Response::text(text()).with_field("Cache-Control", "public, No-Transform");
        check(still, "gzip", untouched);
        let encoded = || Response::text(text()).with_field("Content-Encoding", "br");
        check(encoded, "gzip", |answer| {
            assert_eq!(answer.field("content-encoding"), Some("br"));
        });
    }

    #[test]
    fn types_are_known_in_whatever_case_and_with_parameters() {
        for yes in [
            "text/plain; charset=utf-8",
            "TEXT/HTML",
            "Application/LD+Json ;x=y",
            "image/svg+XML",
            "application/WASM",
        ] {
            assert!(is_compressible(yes.as_bytes()), "{yes}");
        }
        for no in [
            "",
            "tex",
            "image/png",
            "application/json5",
            "font/woff2",
            "json",
        ] {
            assert!(!is_compressible(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn bytes_that_do_not_shrink_stay_as_they_are() {
        let mut state = 1u64;
        let noise: Vec<u8> = (0..4_096)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        assert_eq!(compress(&noise), None);
        let packed = compress(text().as_bytes()).unwrap();
        assert_eq!(
            unpacked(&packed),
            text(),
            "the encoder is fit for use after giving up"
        );
    }

    #[test]
    fn weights_are_read_as_the_standard_says() {
        for yes in [
            "gzip",
            "GZIP;q=1",
            "br;q=1, gzip;q=0.001",
            "*",
            "x-gzip",
            "*;q=0, gzip",
        ] {
            assert!(accepts_gzip(yes.as_bytes()), "{yes}");
        }
        for no in [
            "",
            "br",
            "gzip;q=0",
            "gzip; q=0.000",
            "*, gzip;q=0",
            "*;q=0",
            "gzipped",
        ] {
            assert!(!accepts_gzip(no.as_bytes()), "{no}");
        }
    }
}
