//! Forms with files: `multipart/form-data` (RFC 7578 over RFC 2046 §5.1).
//!
//! An iterator over the buffered body; parts borrow from it and nothing is copied. Strict where
//! browsers agree: a delimiter line, a `Content-Disposition: form-data` with a name, the content,
//! a closing delimiter. A body cut short is an error, never a shorter file. Bounded by the
//! number of parts and the size of a part's head. Large files belong in an upload route.

use std::borrow::Cow;

use super::{Error, Request};
use crate::http::Status;
use crate::limits::{MULTIPART_HEAD_BYTES_MAX, MULTIPART_PARTS_MAX};

/// The parts of a `multipart/form-data` body; see [`Request::multipart`]. Ends after an error.
#[derive(Clone, Debug)]
pub struct Multipart<'a> {
    /// What follows the last delimiter; `None` at the end.
    rest: Option<&'a [u8]>,
    /// CRLF, two hyphens and the boundary (RFC 2046 §5.1.1).
    delimiter: Vec<u8>,
    parts: usize,
}

/// One part: a field of the form or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormPart<'a> {
    name: Cow<'a, str>,
    filename: Option<Cow<'a, str>>,
    content_type: Option<&'a str>,
    content: &'a [u8],
}

impl<'a> FormPart<'a> {
    /// The field's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file's name on the client's machine, for showing. It can hold anything, slashes and
    /// `..` too: never make a path of it.
    pub fn filename(&self) -> Option<&str> {
        self.filename.as_deref()
    }

    /// The content type that the client claims.
    pub fn content_type(&self) -> Option<&'a str> {
        self.content_type
    }

    /// The content.
    pub fn bytes(&self) -> &'a [u8] {
        self.content
    }

    /// The content as text; 400 when it is not UTF-8.
    pub fn text(&self) -> Result<&'a str, Error> {
        std::str::from_utf8(self.content).map_err(|_| invalid("a part is not UTF-8"))
    }
}

fn invalid(what: &'static str) -> Error {
    Error::new(
        Status::BAD_REQUEST,
        format!("malformed multipart body: {what}"),
    )
}

impl<'a> Request<'a> {
    /// The parts of the form in the body; 415 when the body is something else.
    pub fn multipart(&self) -> Result<Multipart<'a>, Error> {
        let is_it = self
            .media_type()
            .is_some_and(|t| t.eq_ignore_ascii_case("multipart/form-data"));
        if !is_it {
            let expected = "expected multipart/form-data";
            return Err(Error::new(Status::UNSUPPORTED_MEDIA_TYPE, expected));
        }
        let value = self.field("content-type").unwrap_or_default();
        let boundary = parameter(value, "boundary").ok_or_else(|| invalid("no boundary"))?;
        Multipart::new(self.body(), &boundary)
    }
}

impl<'a> Multipart<'a> {
    /// The parts of a body with this boundary: 1 to 70 characters of RFC 2046 §5.1.1.
    pub fn new(body: &'a [u8], boundary: &[u8]) -> Result<Multipart<'a>, Error> {
        let fine = |b: &u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(b);
        if boundary.len() > 70
            || !boundary.iter().all(fine)
            || matches!(boundary.last(), None | Some(b' '))
        {
            return Err(invalid("an impossible boundary"));
        }
        let delimiter = [b"\r\n--", boundary].concat();
        // The first delimiter needs no CRLF before it; what precedes it is a preamble to ignore.
        let rest = match body.strip_prefix(&delimiter[2..]) {
            Some(rest) => Some(rest),
            None => split_at(body, &delimiter).map(|(_, rest)| rest),
        };
        match rest {
            Some(rest) => Ok(Multipart {
                rest: Some(rest),
                delimiter,
                parts: 0,
            }),
            None => Err(invalid("no delimiter")),
        }
    }

    /// The part after a delimiter, `None` after the closing one.
    fn part(&mut self) -> Result<Option<FormPart<'a>>, Error> {
        let Some(rest) = self.rest.take() else {
            return Ok(None);
        };
        if rest.starts_with(b"--") {
            // What follows the closing delimiter is an epilogue to ignore.
            return Ok(None);
        }
        if self.parts == MULTIPART_PARTS_MAX {
            return Err(Error::new(Status::CONTENT_TOO_LARGE, "too many parts"));
        }
        self.parts += 1;
        let padding = rest
            .iter()
            .take_while(|b| matches!(b, b' ' | b'\t'))
            .count();
        let Some(rest) = rest[padding..].strip_prefix(b"\r\n") else {
            return Err(invalid("a delimiter that does not end its line"));
        };
        let head_bytes = rest.len().min(MULTIPART_HEAD_BYTES_MAX);
        let (head, content) = match split_at(&rest[..head_bytes], b"\r\n\r\n") {
            // A head without fields is one empty line.
            _ if rest.starts_with(b"\r\n") => (&[][..], &rest[2..]),
            Some((head, _)) => (head, &rest[head.len() + 4..]),
            None => return Err(invalid("a part's head does not end")),
        };
        let Some((content, rest)) = split_at(content, &self.delimiter)
            // An empty part's CRLF may belong to its head and to the delimiter at once.
            .or_else(|| Some((&[][..], content.strip_prefix(&self.delimiter[2..])?)))
        else {
            return Err(invalid("it ends within a part"));
        };
        self.rest = Some(rest);
        read_head(head, content).map(Some)
    }
}

impl<'a> Iterator for Multipart<'a> {
    type Item = Result<FormPart<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.part().transpose()
    }
}

/// Reads the fields of a part's head. Fields other than these two are ignored (RFC 7578 §4.8).
fn read_head<'a>(head: &'a [u8], content: &'a [u8]) -> Result<FormPart<'a>, Error> {
    let mut disposition = None;
    let mut content_type = None;
    for line in head
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return Err(invalid("a field without a colon"));
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-disposition") {
            disposition = Some(value);
        } else if name.eq_ignore_ascii_case(b"content-type") {
            content_type = std::str::from_utf8(value).ok();
        }
    }
    let disposition = disposition.unwrap_or_default();
    let kind = disposition
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default();
    if !kind.trim_ascii().eq_ignore_ascii_case(b"form-data") {
        return Err(invalid("a part is no form-data"));
    }
    let Some(name) = parameter(disposition, "name") else {
        return Err(invalid("a part without a name"));
    };
    let filename = parameter(disposition, "filename")
        .map(unescape)
        .transpose()?;
    Ok(FormPart {
        name: unescape(name)?,
        filename,
        content_type,
        content,
    })
}

/// Undoes what browsers write for three characters in a name (WHATWG HTML §4.10.22.8).
fn unescape(raw: Cow<'_, [u8]>) -> Result<Cow<'_, str>, Error> {
    let text = match raw {
        Cow::Borrowed(raw) => std::str::from_utf8(raw).ok().map(Cow::Borrowed),
        Cow::Owned(raw) => String::from_utf8(raw).ok().map(Cow::Owned),
    };
    let text = text.ok_or_else(|| invalid("a name is not UTF-8"))?;
    if text.contains('%') {
        let text = text
            .replace("%22", "\"")
            .replace("%0D", "\r")
            .replace("%0A", "\n");
        return Ok(Cow::Owned(text));
    }
    Ok(text)
}

/// The value of a parameter, `; name=token` or `; name="quoted"` (RFC 9110 §5.6.6). In quotes a
/// backslash escapes a quote or itself and stands for itself elsewhere: old browsers sent paths.
fn parameter<'v>(value: &'v [u8], name: &str) -> Option<Cow<'v, [u8]>> {
    let mut rest = value;
    loop {
        let semicolon = rest.iter().position(|byte| *byte == b';')?;
        rest = rest[semicolon + 1..].trim_ascii_start();
        let end = rest.iter().position(|byte| matches!(byte, b'=' | b';'))?;
        if rest[end] == b';' {
            rest = &rest[end..];
            continue;
        }
        let is_it = rest[..end]
            .trim_ascii()
            .eq_ignore_ascii_case(name.as_bytes());
        rest = &rest[end + 1..];
        let (read, after) = match rest.strip_prefix(b"\"") {
            Some(quoted) => quoted_string(quoted)?,
            None => {
                let end = rest
                    .iter()
                    .position(|byte| *byte == b';')
                    .unwrap_or(rest.len());
                (Cow::Borrowed(rest[..end].trim_ascii()), &rest[end..])
            }
        };
        if is_it {
            return Some(read);
        }
        rest = after;
    }
}

/// What stands before the closing quote, and what follows it.
fn quoted_string(bytes: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let mut out: Option<Vec<u8>> = None;
    let mut at = 0;
    loop {
        let byte = *bytes.get(at)?;
        let escaped = bytes
            .get(at + 1)
            .filter(|next| byte == b'\\' && b"\\\"".contains(next));
        if let Some(next) = escaped {
            out.get_or_insert_with(|| bytes[..at].to_vec()).push(*next);
            at += 2;
            continue;
        }
        if byte == b'"' {
            let read = out.map_or(Cow::Borrowed(&bytes[..at]), Cow::Owned);
            return Some((read, &bytes[at + 1..]));
        }
        if let Some(out) = &mut out {
            out.push(byte);
        }
        at += 1;
    }
}

/// What stands before and after the first `needle`, which begins with a CR.
///
/// Linear: neither needle has a second CR where a match could overlap another by more than two
/// bytes, so no byte is compared often.
fn split_at<'h>(hay: &'h [u8], needle: &[u8]) -> Option<(&'h [u8], &'h [u8])> {
    let mut at = 0;
    while let Some(found) = hay.get(at..)?.iter().position(|byte| *byte == b'\r') {
        at += found;
        if let Some(after) = hay[at..].strip_prefix(needle) {
            return Some((&hay[..at], after));
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, shown: &str) {
        let out = match Multipart::new(body.as_bytes(), b"XX") {
            Err(error) => error.message().to_owned(),
            Ok(parts) => parts
                .map(|part| show(&part))
                .collect::<Vec<_>>()
                .join(" | "),
        };
        assert_eq!(out, shown, "{body:?}");
    }

    fn show(part: &Result<FormPart<'_>, Error>) -> String {
        match part {
            Err(error) => format!("{} {}", error.status().code(), error.message()),
            Ok(part) => format!(
                "{} {:?} {:?} {:?}",
                part.name(),
                part.filename(),
                part.content_type(),
                String::from_utf8_lossy(part.bytes())
            ),
        }
    }

    const A: &str = "Content-Disposition: form-data; name=\"a\"\r\n\r\n";

    #[test]
    fn parts_are_what_stands_between_the_delimiters() {
        check("--XX--", "");
        check(&format!("--XX\r\n{A}1\r\n--XX--\r\n"), "a None None \"1\"");
        check(
            &format!("pre\r\n--XX \t\r\n{A}\r\n--XX--post"),
            "a None None \"\"",
        );
        check(&format!("--XX\r\n{A}--XX--"), "a None None \"\"");
        let two = format!("--XX\r\n{A}x\r\n--X\r\n\r\n--XX\r\n{A}2\r\n--XX--");
        check(&two, "a None None \"x\\r\\n--X\\r\\n\" | a None None \"2\"");
        let file = "--XX\r\ncontent-type: text/plain\r\nX: y\r\n\
            CONTENT-DISPOSITION: Form-Data; filename=\"q\\\"%22\\.txt\"; name=f\r\n\r\n\
            hi\r\n--XX--";
        check(
            file,
            "f Some(\"q\\\"\\\"\\\\.txt\") Some(\"text/plain\") \"hi\"",
        );
    }

    #[test]
    fn a_body_cut_short_is_an_error_at_every_length() {
        let whole = format!("--XX\r\n{A}content\r\n--XX--");
        for length in 0..whole.len() - 2 {
            let cut = &whole.as_bytes()[..length];
            let parts = Multipart::new(cut, b"XX");
            let fails = parts.map_or(true, |mut parts| parts.any(|part| part.is_err()));
            assert!(fails, "cut at {length}");
        }
    }

    #[test]
    fn malformed_parts_are_refused_by_name_and_end_the_iteration() {
        let p = "400 malformed multipart body:";
        check("", "malformed multipart body: no delimiter");
        check(
            "--XXY",
            &format!("{p} a delimiter that does not end its line"),
        );
        check(
            "--XX\r\n\r\n\r\n--XX--",
            &format!("{p} a part is no form-data"),
        );
        check(
            "--XX\r\nA: b\r\n--XX--",
            &format!("{p} a part's head does not end"),
        );
        check(
            "--XX\r\nfoo\r\n\r\n--XX--",
            &format!("{p} a field without a colon"),
        );
        check(
            "--XX\r\nA: b\r\n\r\n\r\n--XX--",
            &format!("{p} a part is no form-data"),
        );
        let nameless = "--XX\r\nContent-Disposition: form-data; filename=x\r\n\r\n\r\n--XX--";
        check(nameless, &format!("{p} a part without a name"));
        let open = "--XX\r\nContent-Disposition: form-data; name=\"x\r\n\r\n\r\n--XX--";
        check(open, &format!("{p} a part without a name"));
    }

    #[test]
    fn parts_and_their_heads_are_bounded() {
        let part = format!("\r\n--XX\r\n{A}");
        let most = part.repeat(MULTIPART_PARTS_MAX) + "\r\n--XX--";
        assert_eq!(
            Multipart::new(most.as_bytes(), b"XX").unwrap().count(),
            MULTIPART_PARTS_MAX
        );
        let more = part.repeat(MULTIPART_PARTS_MAX + 1) + "\r\n--XX--";
        let last = Multipart::new(more.as_bytes(), b"XX")
            .unwrap()
            .last()
            .unwrap();
        assert_eq!(last.unwrap_err().status(), Status::CONTENT_TOO_LARGE);
        let long = format!(
            "--XX\r\nX: {}\r\n{A}\r\n--XX--",
            "y".repeat(MULTIPART_HEAD_BYTES_MAX)
        );
        check(
            &long,
            "400 malformed multipart body: a part's head does not end",
        );
    }

    #[test]
    fn the_boundary_is_read_from_its_parameter() {
        fn check(value: &str, boundary: Option<&str>) {
            let read = parameter(value.as_bytes(), "boundary");
            assert_eq!(read.as_deref(), boundary.map(str::as_bytes), "{value}");
        }
        check("multipart/form-data; boundary=abc", Some("abc"));
        check(
            "multipart/form-data; charset=utf-8 ; Boundary=\"a b;c\" ; x=y",
            Some("a b;c"),
        );
        check(
            "multipart/form-data; x=\"; boundary=no\"; boundary=yes",
            Some("yes"),
        );
        check("multipart/form-data; flag; boundary=x", Some("x"));
        check("multipart/form-data", None);
        check("multipart/form-data; boundary=\"open", None);
        for bad in [&b""[..], b"a ", b"a\"b", b"\r\n", &[b'a'; 71]] {
            assert!(Multipart::new(b"--a", bad).is_err(), "{bad:?}");
        }
    }
}
