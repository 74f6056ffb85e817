//! Where a request's body ends (RFC 9112 §6.3).
//!
//! A request either says `Content-Length`, or `Transfer-Encoding: chunked`, or has no body.
//! Both at once is an error for us (stricter than RFC 9112 §6.3 item 3, which allows to let
//! Transfer-Encoding win): two readers who choose differently are how requests get smuggled.

use super::Error;

/// How the body of a request is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body: neither Content-Length nor Transfer-Encoding was there.
    Empty,
    /// `Content-Length`, in bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// Reads a Content-Length: `1*DIGIT` and nothing else (RFC 9110 §8.6), at most 63 bits.
///
/// Stricter than RFC 9110 §8.6, which lets a recipient accept a list of equal numbers, and has
/// leading zeros, which some read as octal.
pub(super) fn parse_content_length(value: &[u8]) -> Result<u64, Error> {
    // 19 digits hold every 63-bit number; more would be too many.
    let zeros_lead = value.len() > 1 && value[0] == b'0';
    if value.is_empty() || value.len() > 19 || zeros_lead {
        return Err(Error::ContentLength);
    }
    let mut length: u64 = 0;
    for byte in value {
        if !byte.is_ascii_digit() {
            return Err(Error::ContentLength);
        }
        length = length * 10 + u64::from(byte - b'0');
    }
    if length > i64::MAX as u64 {
        Err(Error::ContentLength)
    } else {
        Ok(length)
    }
}

/// Reads one Transfer-Encoding field value. Only `chunked` alone is decoded here.
///
/// A list that does not end in `chunked` leaves the length unknown: 400 (RFC 9112 §6.3 item 4).
/// A well-formed list that does, with other codings before it, is 501 (RFC 9112 §6.1).
pub(super) fn parse_transfer_encoding(value: &[u8]) -> Result<(), Error> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    // White space around the list is in the value only where `framing_value` left too much.
    if value.trim_ascii() != value {
        return Err(Error::TransferEncoding);
    }
    let mut last_chunked = false;
    for coding in value.split(|byte| *byte == b',') {
        let coding = coding.trim_ascii();
        let token = super::scan::token_len(coding);
        if token == 0 || token != coding.len() || last_chunked {
            return Err(Error::TransferEncoding);
        }
        last_chunked = coding.eq_ignore_ascii_case(b"chunked");
    }
    if last_chunked {
        Err(Error::TransferEncodingUnknown)
    } else {
        Err(Error::TransferEncoding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_length_is_digits_only_and_63_bits() {
        assert_eq!(parse_content_length(b"0"), Ok(0));
        assert_eq!(
            parse_content_length(b"9223372036854775807"),
            Ok(i64::MAX as u64)
        );
        for bad in [
            &b""[..],
            b"+1",
            b"-1",
            b"1,1",
            b"0x1",
            b" 1",
            b"1 ",
            b"01",
            b"00",
            b"9223372036854775808",
        ] {
            assert_eq!(
                parse_content_length(bad),
                Err(Error::ContentLength),
                "{bad:?}"
            );
        }
        assert_eq!(parse_content_length(&[b'0'; 20]), Err(Error::ContentLength));
    }

    #[test]
    fn only_chunked_alone_is_decoded() {
        assert_eq!(parse_transfer_encoding(b"Chunked"), Ok(()));
        assert_eq!(
            parse_transfer_encoding(b"gzip, chunked"),
            Err(Error::TransferEncodingUnknown)
        );
        for bad in [
            &b""[..],
            b"gzip",
            b"chunked ",
            b" gzip, chunked",
            b"chunked, gzip",
            b"chunked, chunked",
            b"\x0bchunked",
            b"chunked;a=b",
            b"chunked,",
            b",chunked",
            b"identity",
        ] {
            assert_eq!(
                parse_transfer_encoding(bad),
                Err(Error::TransferEncoding),
                "{bad:?}"
            );
        }
    }
}
