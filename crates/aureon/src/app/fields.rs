//! The field block of a response: serialised lines, ready to be copied out.
//!
//! A response's fields are kept as the bytes that will be sent (RFC 9110 §5, RFC 9112 §5), in two
//! parts: a *prepared* part that is shared or compiled in, and the response's *own* lines. The
//! common answer has only the first and allocates nothing. The buffer of own lines goes back to a
//! small stock of its thread when the response is dropped, so that a worker in its stride does
//! not allocate for those either. Nothing that could split a response gets in: a name must be a
//! token and a value must be free of control bytes.

use std::sync::Arc;

use super::stock::{give_buffer, take_buffer};
use crate::http::scan::{name_bit, token_len, value_len};
use crate::http::write::write_field;

/// Fields that were serialised once for many responses by [`prepare_fields`]. Clones share them.
#[derive(Clone, Debug)]
pub struct Prepared {
    lines: Arc<[u8]>,
    names: u64,
}

impl Prepared {
    /// Whether one of the fields may be set in a response already.
    #[inline]
    pub(super) fn may_meet(&self, fields: &Fields) -> bool {
        self.names & fields.names != 0
    }

    #[cfg(test)]
    pub(crate) fn lines(&self) -> &[u8] {
        &self.lines
    }
}

/// Lines that many responses share.
enum Shared {
    Static(&'static [u8]),
    Counted(Arc<[u8]>),
}

/// Field lines, each ending in CRLF.
pub(super) struct Fields {
    prepared: Shared,
    own: Vec<u8>,
    /// The bits of all names that are there, and perhaps of some that were: what is not in it
    /// need not be looked for.
    names: u64,
}

/// The bit of the one field that compiled-in lines have.
const CONTENT_TYPE: u64 = name_bit(b"Content-Type");

/// Why a field was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The name is no token.
    Name,
    /// The value has a control byte.
    Value,
    /// The field belongs to the session.
    Framing,
}

/// Fields that the session writes; a handler that wrote them could desynchronise the peer.
const OF_THE_SESSION: [&str; 5] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "date",
    "keep-alive",
];

/// Their bits.
const OF_THE_SESSION_NAMES: u64 = {
    let mut names = 0;
    let mut at = 0;
    while at < OF_THE_SESSION.len() {
        names |= name_bit(OF_THE_SESSION[at].as_bytes());
        at += 1;
    }
    names
};

impl Fields {
    /// No field, or a line of the content type.
    pub(super) const fn from_static(lines: &'static [u8]) -> Fields {
        Fields {
            prepared: Shared::Static(lines),
            own: Vec::new(),
            names: if lines.is_empty() { 0 } else { CONTENT_TYPE },
        }
    }

    pub(super) fn set_prepared(&mut self, prepared: Prepared) {
        if self.own.is_empty() {
            self.names = 0;
        }
        self.names |= prepared.names;
        self.prepared = Shared::Counted(prepared.lines);
    }

    pub(super) fn prepared(&self) -> &[u8] {
        match &self.prepared {
            Shared::Static(lines) => lines,
            Shared::Counted(lines) => lines,
        }
    }

    pub(super) fn own(&self) -> &[u8] {
        &self.own
    }

    /// Every field as name and value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        lines(self.prepared())
            .chain(lines(&self.own))
            .filter_map(split)
    }

    /// Whether the field may be there; false is certain.
    #[inline]
    pub(super) fn may_have(&self, name: &str) -> bool {
        self.names & name_bit(name.as_bytes()) != 0
    }

    /// The first value of a field.
    pub(super) fn first(&self, name: &str) -> Option<&[u8]> {
        if !self.may_have(name) {
            return None;
        }
        let mut all = lines(self.prepared()).chain(lines(&self.own));
        all.find_map(|line| value_of(line, name))
    }

    /// Adds a line, whether or not the field is there.
    pub(super) fn append(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        check(name, value)?;
        self.write(name, value);
        Ok(())
    }

    #[inline(never)]
    fn write(&mut self, name: &str, value: &[u8]) {
        self.names |= name_bit(name.as_bytes());
        write_field(self.buffer(), name, value);
    }

    /// Adds lines that were serialised by [`prepare_fields`], whether or not the fields are
    /// there.
    pub(super) fn append_prepared(&mut self, prepared: &Prepared) {
        self.names |= prepared.names;
        self.buffer().extend_from_slice(&prepared.lines);
    }

    /// Replaces every line of a field that the program names, by a value that is known to be
    /// clean.
    #[inline(always)]
    pub(super) fn set_known(&mut self, name: &'static str, value: &[u8]) {
        debug_assert_eq!(check(name, value), Ok(()));
        // The name is known here, and so its bit and the length of its copy.
        if self.may_have(name) {
            self.remove_lines(name);
        }
        self.names |= name_bit(name.as_bytes());
        write_field(self.buffer(), name, value);
    }

    /// Replaces every line of the field by one.
    pub(super) fn set(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        check(name, value)?;
        self.remove(name);
        self.write(name, value);
        Ok(())
    }

    /// Removes every line of the field.
    pub(super) fn remove(&mut self, name: &str) {
        if self.may_have(name) {
            self.remove_lines(name);
        }
    }

    fn remove_lines(&mut self, name: &str) {
        let is_it = |line: &[u8]| value_of(line, name).is_some();
        if lines(&self.own).any(is_it) {
            self.own = kept(&self.own, is_it);
        }
        if lines(self.prepared()).any(is_it) {
            // The prepared part cannot change: what stays of it becomes our own.
            let mut own = kept(self.prepared(), is_it);
            own.extend_from_slice(&self.own);
            self.own = own;
            self.prepared = Shared::Static(b"");
        }
    }

    fn buffer(&mut self) -> &mut Vec<u8> {
        if self.own.capacity() == 0 {
            self.own = take_buffer();
        }
        &mut self.own
    }
}

impl Drop for Fields {
    #[inline]
    fn drop(&mut self) {
        if self.own.capacity() > 0 {
            give_buffer(std::mem::take(&mut self.own));
        }
    }
}

/// Serialises fields once for many responses; see
/// [`Response::with_prepared`](super::Response::with_prepared). A field with an invalid name or
/// value is left out.
pub fn prepare_fields<'a>(fields: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Prepared {
    let mut block = Fields::from_static(b"");
    for (name, value) in fields {
        let taken = block.append(name, value);
        debug_assert!(taken.is_ok(), "field {name}: {taken:?}");
    }
    Prepared {
        lines: Arc::from(block.own()),
        names: block.names,
    }
}

/// Lines without those that `is_it` names.
fn kept(block: &[u8], is_it: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len());
    for line in lines(block).filter(|line| !is_it(line)) {
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// The lines of a block, without their CRLF.
fn lines(mut block: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        // A line holds no control byte but tab, so the scan for one finds its end.
        let (line, rest) = block.split_at(value_len(block));
        block = rest.strip_prefix(b"\r\n")?;
        Some(line)
    })
}

fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    Some((&line[..colon], line[colon + 1..].trim_ascii()))
}

/// The value of a line when it is the field's.
#[inline]
fn value_of<'l>(line: &'l [u8], name: &str) -> Option<&'l [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    start
        .eq_ignore_ascii_case(name.as_bytes())
        .then(|| value.trim_ascii())
}

fn check(name: &str, value: &[u8]) -> Result<(), Refused> {
    if name.is_empty() || token_len(name.as_bytes()) != name.len() {
        return Err(Refused::Name);
    }
    if OF_THE_SESSION_NAMES & name_bit(name.as_bytes()) != 0
        && OF_THE_SESSION
            .iter()
            .any(|taken| taken.eq_ignore_ascii_case(name))
    {
        return Err(Refused::Framing);
    }
    if value_len(value) != value.len() {
        return Err(Refused::Value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(fields: &Fields) -> String {
        String::from_utf8([fields.prepared(), fields.own()].concat()).unwrap()
    }

    #[test]
    fn setting_replaces_prepared_and_own_lines_alike() {
        let mut fields = Fields::from_static(b"Content-Type: a/b\r\nX-Kept: 1\r\n");
        fields.append("X-Own", b"2").unwrap();
        fields.set("content-type", b"c/d").unwrap();
        fields.set("x-own", b"3").unwrap();
        assert_eq!(
            block(&fields),
            "X-Kept: 1\r\ncontent-type: c/d\r\nx-own: 3\r\n"
        );
        assert_eq!(fields.first("Content-Type"), Some(&b"c/d"[..]));
    }

    #[test]
    fn appending_keeps_what_is_there() {
        let mut fields = Fields::from_static(b"");
        fields.append("Set-Cookie", b"a=1").unwrap();
        fields.append("Set-Cookie", b"b=2").unwrap();
        assert_eq!(block(&fields), "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n");
        fields.remove("set-cookie");
        assert_eq!(block(&fields), "");
        assert_eq!(fields.first("set-cookie"), None);
    }

    #[test]
    fn nothing_that_splits_a_response_gets_in() {
        fn check(name: &str, value: &[u8], refused: Refused) {
            let mut fields = Fields::from_static(b"");
            assert_eq!(fields.append(name, value), Err(refused));
            assert_eq!(fields.set(name, value), Err(refused));
            assert_eq!(block(&fields), "");
        }
        for value in [&b"a\r\nX: y"[..], b"a\nX: y", b"a\rb", b"a\0b", b"\x7f"] {
            check("X-Name", value, Refused::Value);
        }
        for name in ["", "a b", "a:", "a\r\nb", "é"] {
            check(name, b"v", Refused::Name);
        }
        for name in ["Content-Length", "TRANSFER-ENCODING", "connection", "Date"] {
            check(name, b"1", Refused::Framing);
        }
    }

    #[test]
    fn a_refused_value_leaves_the_old_one() {
        let mut fields = Fields::from_static(b"X-A: 1\r\n");
        assert!(fields.set("X-A", b"\n").is_err());
        assert_eq!(block(&fields), "X-A: 1\r\n");
    }

    #[test]
    fn prepared_lines_are_what_would_be_sent() {
        let prepared = prepare_fields([("ETag", &b"\"x\""[..]), ("Vary", b"Accept-Encoding")]);
        let lines = b"ETag: \"x\"\r\nVary: Accept-Encoding\r\n";
        assert_eq!(prepared.lines(), lines);
        let mut fields = Fields::from_static(b"Content-Type: a/b\r\n");
        assert!(!prepared.may_meet(&fields));
        fields.append_prepared(&prepared);
        assert_eq!(fields.own(), lines);
        assert!(prepared.may_meet(&fields));
        assert_eq!(fields.first("vary"), Some(&b"Accept-Encoding"[..]));
        let mut fields = Fields::from_static(b"Content-Type: a/b\r\n");
        fields.set_prepared(prepared);
        assert_eq!(fields.first("etag"), Some(&b"\"x\""[..]));
        assert_eq!(fields.first("content-type"), None);
    }
}
