//! Percent-decoding and encoding (RFC 3986 §2.1), for paths and for form data.
//!
//! Two readings exist and each has one function: a path is strict, because a server that guesses
//! can be walked around; form data follows the WHATWG URL standard, whose parser never fails.

use std::borrow::Cow;

/// Why a path could not be decoded; every reason is a 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathInvalid;

/// The value of an escape's two hexadecimal digits.
fn escape(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let value = digit(bytes.get(at + 1))? << 4 | digit(bytes.get(at + 2))?;
    u8::try_from(value).ok()
}

/// Decodes a whole path once, `/` written as an escape becoming `stand_in` so that it is not
/// taken for a separator.
///
/// Refused: an invalid escape, a control character however written (a NUL would end the path for
/// a C function, a line end would start a new line in a log), and anything that is not UTF-8.
pub(super) fn decode_path(raw: &str, stand_in: u8) -> Result<String, PathInvalid> {
    let bytes = raw.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let decoded = if *byte == b'%' {
            let decoded = escape(bytes, at).ok_or(PathInvalid)?;
            at += 3;
            match decoded {
                ..=0x1f | 0x7f => return Err(PathInvalid),
                b'/' => stand_in,
                other => other,
            }
        } else {
            at += 1;
            *byte
        };
        out.push(decoded);
    }
    if raw.contains(|c: char| c.is_ascii_control()) {
        return Err(PathInvalid);
    }
    String::from_utf8(out).map_err(|_| PathInvalid)
}

/// Decodes a name or value of form data (WHATWG URL §5.1): `+` is a space, an invalid escape
/// stands for itself, invalid UTF-8 becomes U+FFFD. Borrows when there is nothing to decode.
pub fn decode_form(raw: &[u8]) -> Cow<'_, str> {
    if !raw.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return String::from_utf8_lossy(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(byte) = raw.get(at) {
        match (byte, escape(raw, at)) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                at += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            (other, _) => out.push(*other),
        }
        at += 1;
    }
    Cow::Owned(match String::from_utf8(out) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

/// Appends a byte as `%XX`.
pub(super) fn write_escape(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// Encodes text so that it can stand anywhere in a URI: everything but the unreserved characters
/// (RFC 3986 §2.3) becomes an escape.
pub fn encode(text: &str) -> Cow<'_, str> {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if text.bytes().all(unreserved) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if unreserved(byte) {
            out.push(char::from(byte));
        } else {
            write_escape(&mut out, byte);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(raw: &str) -> Option<String> {
        decode_path(raw, b'|').ok()
    }

    #[test]
    fn a_path_is_decoded_once() {
        assert_eq!(path("/a%20b/%C3%BC").as_deref(), Some("/a b/ü"));
        assert_eq!(path("/%2525").as_deref(), Some("/%25"));
        assert_eq!(path("/a+b").as_deref(), Some("/a+b"));
        assert_eq!(path("/a%2Fb%2f").as_deref(), Some("/a|b|"));
    }

    #[test]
    fn a_path_that_cannot_be_decoded_is_refused() {
        for raw in [
            "/%", "/%1", "/%zz", "/%0", "/%00", "/a%00b", "/%ff", "/%c3", "/\0", "/%+1", "/%0d%0a",
            "/%7F", "/%1b",
        ] {
            assert_eq!(path(raw), None, "{raw}");
        }
    }

    #[test]
    fn form_data_is_decoded_without_failing() {
        fn check(raw: &[u8], text: &str) {
            assert_eq!(decode_form(raw), text);
        }
        check(b"plain", "plain");
        check(b"a+b%20c", "a b c");
        check(b"100%", "100%");
        check(b"%zz%4", "%zz%4");
        check(b"%C3%BC", "ü");
        check(b"%FF", "\u{fffd}");
        check(b"\xff", "\u{fffd}");
        check(b"%2B%25", "+%");
    }

    #[test]
    fn encoding_is_undone_by_decoding() {
        let text = "a b+c/ü%~";
        assert_eq!(encode(text), "a%20b%2Bc%2F%C3%BC%25~");
        assert_eq!(decode_form(encode(text).as_bytes()), text);
        assert!(matches!(encode("a-b"), Cow::Borrowed(_)));
    }
}
