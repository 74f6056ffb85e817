//! Decodes the chunked transfer coding (RFC 9112 §7.1), resuming at any byte.
//!
//! Framing bytes are consumed as they come; data is handed out where it lies. Extensions are
//! checked and ignored, their bytes are bounded; trailer fields are checked like a head's and
//! dropped (RFC 9110 §6.5.1 leaves that to us). White space around a size is refused: "BWS" in
//! the grammar is what two parsers disagree about.

use super::head::FieldSpan;
use super::parse::Parser;
use super::{Error, scan};
use crate::limits::{CHUNK_SIZE_DIGITS_MAX, Limits};

/// What the decoder found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Data of this many bytes stands at the end of what was consumed.
    Data(usize),
    /// The body and its trailer section are over.
    End,
    /// More bytes are needed.
    More,
}

#[derive(Debug)]
enum State {
    Size { digits: u8 },
    SizeLineFeed,
    Extension(Extension),
    Data,
    DataReturn,
    DataLineFeed,
    TrailerStart,
    TrailerLineFeed,
    Trailers(Box<(Parser, Vec<FieldSpan>)>),
    Done,
}

/// Inside `;name=value` (RFC 9112 §7.1.1); each state but the first may end the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    NameStart,
    Name,
    ValueStart,
    Value,
    Quoted,
    QuotedPair,
    QuotedEnd,
}

/// The decoder of one body.
#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    remaining: u64,
    extension_bytes: usize,
}

impl Chunked {
    pub(super) fn new() -> Chunked {
        Chunked {
            state: State::Size { digits: 0 },
            remaining: 0,
            extension_bytes: 0,
        }
    }

    /// Reads on: how many bytes were consumed, and what they ended with.
    pub(super) fn receive(
        &mut self,
        input: &[u8],
        limits: &Limits,
    ) -> Result<(usize, Piece), Error> {
        let mut at = 0;
        loop {
            if let State::Trailers(trailers) = &mut self.state {
                let (parser, spans) = &mut **trailers;
                return Ok(match parser.advance(&input[at..], spans, limits)? {
                    None => (at, Piece::More),
                    Some(end) => {
                        self.state = State::Done;
                        (at + end, Piece::End)
                    }
                });
            }
            if matches!(self.state, State::Done) {
                return Ok((at, Piece::End));
            }
            let Some(byte) = input.get(at).copied() else {
                return Ok((at, Piece::More));
            };
            if matches!(self.state, State::Data) {
                let rest = input.len() - at;
                let len = usize::try_from(self.remaining).map_or(rest, |n| n.min(rest));
                self.remaining -= len as u64;
                if self.remaining == 0 {
                    self.state = State::DataReturn;
                }
                return Ok((at + len, Piece::Data(len)));
            }
            if matches!(self.state, State::TrailerStart) && byte != b'\r' {
                self.state = State::Trailers(Box::new((Parser::trailers(), Vec::new())));
                continue;
            }
            self.framing_byte(byte, limits)?;
            at += 1;
        }
    }

    /// Takes one byte that is not data.
    fn framing_byte(&mut self, byte: u8, limits: &Limits) -> Result<(), Error> {
        self.state = match (&self.state, byte) {
            (State::Size { digits }, _) if byte.is_ascii_hexdigit() => {
                // Sixteen digits can not overflow 64 bits; a leading zero counts as a digit.
                if *digits == CHUNK_SIZE_DIGITS_MAX {
                    return Err(Error::ChunkSize);
                }
                self.remaining = self.remaining << 4 | u64::from(hex_value(byte));
                State::Size { digits: digits + 1 }
            }
            (State::Size { digits: 0 }, _) => return Err(Error::ChunkSize),
            (State::Size { .. }, b'\r') => State::SizeLineFeed,
            (State::Size { .. }, b';') => self.extension(Extension::NameStart, limits)?,
            (State::Size { .. }, b'\n') => return Err(Error::LineEnd),
            (State::Size { .. }, _) => return Err(Error::ChunkSize),
            (State::SizeLineFeed, b'\n') if self.remaining == 0 => State::TrailerStart,
            (State::SizeLineFeed, b'\n') => State::Data,
            (State::Extension(place), _) => match extension_byte(*place, byte)? {
                None => State::SizeLineFeed,
                Some(next) => self.extension(next, limits)?,
            },
            (State::DataReturn, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => State::Size { digits: 0 },
            (State::DataReturn | State::DataLineFeed, _) => return Err(Error::ChunkEnd),
            (State::TrailerStart, _) => State::TrailerLineFeed,
            (State::TrailerLineFeed, b'\n') => State::Done,
            _ => return Err(Error::LineEnd),
        };
        Ok(())
    }

    fn extension(&mut self, next: Extension, limits: &Limits) -> Result<State, Error> {
        self.extension_bytes += 1;
        if self.extension_bytes > limits.chunk_extension_bytes_max {
            return Err(Error::ChunkExtensionsTooLarge);
        }
        Ok(State::Extension(next))
    }
}

/// The next place inside an extension, `None` at the CR that ends the line.
fn extension_byte(place: Extension, byte: u8) -> Result<Option<Extension>, Error> {
    let token = scan::token_len(&[byte]) == 1;
    Ok(Some(match (place, byte) {
        (Extension::NameStart | Extension::Name, _) if token => Extension::Name,
        (Extension::Name, b'=') => Extension::ValueStart,
        (Extension::ValueStart, b'"') => Extension::Quoted,
        (Extension::ValueStart | Extension::Value, _) if token => Extension::Value,
        (Extension::Name | Extension::Value | Extension::QuotedEnd, b';') => Extension::NameStart,
        (Extension::Name | Extension::Value | Extension::QuotedEnd, b'\r') => return Ok(None),
        (Extension::Quoted, b'"') => Extension::QuotedEnd,
        (Extension::Quoted, b'\\') => Extension::QuotedPair,
        (Extension::Quoted | Extension::QuotedPair, _) if scan::value_len(&[byte]) == 1 => {
            Extension::Quoted
        }
        (_, b'\n') => return Err(Error::LineEnd),
        _ => return Err(Error::ChunkExtension),
    }))
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `input` in steps of `step` bytes.
    fn decode(input: &[u8], step: usize) -> Result<(Vec<u8>, usize, bool), Error> {
        let (mut chunked, mut body, mut start, mut end) = (Chunked::new(), Vec::new(), 0, 0);
        loop {
            let (consumed, piece) = chunked.receive(&input[start..end], &Limits::DEFAULT)?;
            match piece {
                Piece::Data(len) => {
                    body.extend_from_slice(&input[start + consumed - len..start + consumed]);
                }
                Piece::End => return Ok((body, start + consumed, true)),
                Piece::More if end == input.len() => return Ok((body, start + consumed, false)),
                Piece::More => end = (end + step).min(input.len()),
            }
            start += consumed;
        }
    }

    #[track_caller]
    fn check(input: &str, expected: Result<&str, Error>) {
        for step in 1..=input.len() {
            let got = decode(input.as_bytes(), step);
            match expected {
                Ok(body) => {
                    let wanted = (body.as_bytes().to_vec(), input.len(), true);
                    assert_eq!(got, Ok(wanted), "{input:?} in steps of {step}");
                }
                Err(error) => assert_eq!(got, Err(error), "{input:?} in steps of {step}"),
            }
        }
    }

    #[test]
    fn decodes_chunks_extensions_and_trailers() {
        check("0\r\n\r\n", Ok(""));
        check("5\r\nhello\r\n00\r\n\r\n", Ok("hello"));
        check("A;a;b=c;d=\"e;\\\"\r\"\r\n", Err(Error::ChunkExtension));
        check(
            "3;a;b=c;d=\"e; \\\"\"\r\nabc\r\n2\r\nde\r\n0;x\r\nETag: a\r\n\r\n",
            Ok("abcde"),
        );
    }

    #[test]
    fn refuses_what_chunks_can_not_have() {
        for size in [
            "x",
            "-1",
            "+1",
            "0x1",
            "1_0",
            " 1",
            "1 ",
            "",
            "11111111111111111",
        ] {
            check(&format!("{size}\r\na\r\n0\r\n\r\n"), Err(Error::ChunkSize));
        }
        check("1\na", Err(Error::LineEnd));
        check("1\r\rab", Err(Error::LineEnd));
        check("1\r\nab\r\n", Err(Error::ChunkEnd));
        check("1\r\na\n0\r\n\r\n", Err(Error::ChunkEnd));
        check("1;\r\na\r\n", Err(Error::ChunkExtension));
        check("1;a\nb", Err(Error::LineEnd));
        check("1; a\r\n", Err(Error::ChunkExtension));
        check("0\r\n\n", Err(Error::LineEnd));
        check("0\r\n\r0", Err(Error::LineEnd));
        check("0\r\nContent-Length: 1\r\n\r\n", Err(Error::TrailerField));
        check("0\r\nX : 1\r\n\r\n", Err(Error::FieldName));
    }

    #[test]
    fn bounds_extensions_and_trailers() {
        let extensions = format!("1;{}\r\n", "a".repeat(5_000));
        check(&extensions[..], Err(Error::ChunkExtensionsTooLarge));
        let trailers = format!("0\r\nX: {}\r\n\r\n", "a".repeat(17_000));
        assert_eq!(decode(trailers.as_bytes(), 100), Err(Error::HeadTooLarge));
    }
}
