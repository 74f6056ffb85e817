//! Form data and query strings: `application/x-www-form-urlencoded` (WHATWG URL §5).
//!
//! Read lazily, pair by pair, from the bytes as they came; nothing is stored, so no number of
//! pairs costs memory. The reading never fails: what a pair means is for the handler to judge.

use std::borrow::Cow;
use std::str::FromStr;

use super::percent::decode_form;
use super::{Error, Request};
use crate::http::Status;

/// The pairs of a query string or of form data, decoded, in the order sent.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Pairs<'a> {
    /// The pairs of such bytes.
    pub fn new(bytes: &'a [u8]) -> Pairs<'a> {
        Pairs { rest: bytes }
    }

    /// The first value of a name.
    pub fn first(mut self, name: &str) -> Option<Cow<'a, str>> {
        self.find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Cow<'a, str>, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (pair, rest) = split_at_byte(self.rest, b'&');
            self.rest = rest;
            if !pair.is_empty() {
                let (name, value) = split_at_byte(pair, b'=');
                return Some((decode_form(name), decode_form(value)));
            }
        }
        None
    }
}

/// What stands before and after the first `byte`; nothing after when it is not there.
fn split_at_byte(bytes: &[u8], byte: u8) -> (&[u8], &[u8]) {
    match bytes.iter().position(|b| *b == byte) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[]),
    }
}

/// The fields of a submitted form; see [`Request::form`].
#[derive(Clone, Debug)]
pub struct Form<'a> {
    body: &'a [u8],
}

impl<'a> Form<'a> {
    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<Cow<'a, str>> {
        self.pairs().first(name)
    }

    /// The first value of a field, read as a `T`; 400 when it does not read as one.
    pub fn field_as<T: FromStr>(&self, name: &str) -> Result<Option<T>, Error> {
        self.field(name)
            .map(|value| parse_value("form field", name, &value))
            .transpose()
    }

    /// Every field, in the order sent.
    pub fn pairs(&self) -> Pairs<'a> {
        Pairs::new(self.body)
    }
}

/// Reads a value of a request; the error names where it stood, not what it was.
pub(super) fn parse_value<T: FromStr>(place: &str, name: &str, value: &str) -> Result<T, Error> {
    value.parse().map_err(|_| {
        Error::new(
            Status::BAD_REQUEST,
            format!("{place} '{name}' is not valid"),
        )
    })
}

impl<'a> Request<'a> {
    /// The first value of a name in the query string, decoded.
    pub fn query(&self, name: &str) -> Option<Cow<'a, str>> {
        self.query_pairs().first(name)
    }

    /// The first value of a name in the query string, read as a `T`; 400 when it does not read
    /// as one.
    pub fn query_as<T: FromStr>(&self, name: &str) -> Result<Option<T>, Error> {
        self.query(name)
            .map(|value| parse_value("query parameter", name, &value))
            .transpose()
    }

    /// Every pair of the query string, in the order sent.
    pub fn query_pairs(&self) -> Pairs<'a> {
        Pairs::new(self.query_str().unwrap_or_default().as_bytes())
    }

    /// The form in the body; 415 when the body is something else.
    pub fn form(&self) -> Result<Form<'a>, Error> {
        if self
            .media_type()
            .is_some_and(|name| name.eq_ignore_ascii_case(FORM))
        {
            return Ok(Form { body: self.body() });
        }
        Err(Error::new(
            Status::UNSUPPORTED_MEDIA_TYPE,
            "expected application/x-www-form-urlencoded",
        ))
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, pairs: &[(&str, &str)]) {
        let got: Vec<_> = Pairs::new(text.as_bytes()).collect();
        let got: Vec<_> = got
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(got, pairs, "{text}");
    }

    #[test]
    fn pairs_are_read_as_the_standard_reads_them() {
        check("", &[]);
        check("&&", &[]);
        check("a", &[("a", "")]);
        check("a=", &[("a", "")]);
        check("=b", &[("", "b")]);
        check("a=b=c", &[("a", "b=c")]);
        check("a=1&&b=2&", &[("a", "1"), ("b", "2")]);
        check(
            "a+b=c%26d&%C3%BC=%F0%9F%A6%80",
            &[("a b", "c&d"), ("ü", "🦀")],
        );
    }

    #[test]
    fn the_first_of_several_values_is_taken() {
        assert_eq!(Pairs::new(b"a=1&b=2&a=3").first("a").as_deref(), Some("1"));
        assert_eq!(Pairs::new(b"a=1").first("b"), None);
    }
}
