//! The API: `/api/status`, `/api/message` and `/api/greet`.
//!
//! Three small JSON answers that the built-in page calls and that a first program of one's own
//! can be compared with. A name is taken as any UTF-8 and given back escaped; what is not UTF-8
//! is refused rather than mended, because a mended name is somebody else's.

use std::borrow::Cow;
use std::time::Instant;

use aureon::app::{Prepared, prepare_fields};
use aureon::{Error, Request, Response, Router, Status};

use crate::json::Object;

/// Bytes of a name that is greeted. 256: longer than any name, shorter than an abuse.
pub const NAME_BYTES_MAX: usize = 256;

/// Who is greeted when nobody is named.
const NOBODY: &str = "Guest";

/// The routes below `/api`.
pub fn routes(message: &str, started: Instant) -> Router {
    let mut router = Router::new();
    let status_message = message.to_owned();
    // No answer here is to be kept by a cache.
    let fields = prepare_fields([("Cache-Control", &b"no-store"[..])]);
    let answer = Answer { fields };
    let own = answer.clone();
    router.get("/status", move |_: &Request<'_>| {
        own.with(|object| {
            object.string("status", "ok");
            object.string("engine", "Rust");
            object.string("version", env!("CARGO_PKG_VERSION"));
            object.number("uptime", started.elapsed().as_secs());
            object.string("message", &status_message);
        })
    });
    let (own, message) = (answer.clone(), message.to_owned());
    router.get("/message", move |_: &Request<'_>| {
        own.with(|object| object.string("message", &message))
    });
    router.get("/greet", move |request: &Request<'_>| {
        greet(&answer, request)
    });
    router
}

fn greet(answer: &Answer, request: &Request<'_>) -> Result<Response, Error> {
    let refuse = |message: &'static str| Err(Error::new(Status::BAD_REQUEST, message));
    let name = match find_value(request.query_str().unwrap_or_default(), "name") {
        Some(Ok(name)) if name.is_empty() => Cow::Borrowed(NOBODY),
        Some(Ok(name)) => name,
        Some(Err(NotUtf8)) => return refuse("the name is not UTF-8"),
        None => Cow::Borrowed(NOBODY),
    };
    if name.len() > NAME_BYTES_MAX {
        return refuse("the name is longer than 256 bytes");
    }
    let text = ["Hello, ", &name, "!"].concat();
    Ok(answer.with(|object| object.string("message", &text)))
}

/// What every answer has.
#[derive(Clone)]
struct Answer {
    fields: Prepared,
}

impl Answer {
    fn with(&self, fill: impl FnOnce(&mut Object<'_>)) -> Response {
        let mut response = Response::json_with(|out| {
            let mut object = Object::new(out);
            fill(&mut object);
            object.end();
        });
        response.append_prepared(&self.fields);
        response
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NotUtf8;

/// The first value of a key in a form-encoded query. The engine's own decoder replaces what is
/// not UTF-8; here it must be told apart.
fn find_value<'a>(query: &'a str, key: &str) -> Option<Result<Cow<'a, str>, NotUtf8>> {
    let pairs = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    for (name, value) in pairs {
        if decode(name).as_deref() == Ok(key) {
            return Some(decode(value));
        }
    }
    None
}

/// Form decoding (URL Standard, urlencoded parsing): plus is a space, `%41` a byte, and a percent
/// sign without two digits stands for itself.
fn decode(raw: &str) -> Result<Cow<'_, str>, NotUtf8> {
    if !raw.bytes().any(|byte| byte == b'+' || byte == b'%') {
        return Ok(Cow::Borrowed(raw));
    }
    let digit = |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16));
    let bytes = raw.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escape = (digit(bytes.get(at + 1)), digit(bytes.get(at + 2)));
        match (byte, escape) {
            (b'%', (Some(high), Some(low))) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|_| NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, name: Option<Result<&str, NotUtf8>>) {
        let found = find_value(query, "name");
        let found = found
            .as_ref()
            .map(|found| found.as_deref().map_err(|_| NotUtf8));
        assert_eq!(found, name, "{query}");
    }

    #[test]
    fn finds_and_decodes_the_first_name() {
        check("", None);
        check("nam=x&names=y", None);
        check("name", Some(Ok("")));
        check("name=&name=x", Some(Ok("")));
        check("a=b&name=Ada+Lovelace&name=x", Some(Ok("Ada Lovelace")));
        check("n%61me=x", Some(Ok("x")));
        check("name=%E6%97%A5%e6%9c%ac", Some(Ok("日本")));
        check("name=a=b", Some(Ok("a=b")));
        check("name=%2B%26%00", Some(Ok("+&\0")));
    }

    #[test]
    fn a_percent_sign_without_digits_stands_for_itself() {
        check("name=100%", Some(Ok("100%")));
        check("name=%4", Some(Ok("%4")));
        check("name=%zz%+1", Some(Ok("%zz% 1")));
    }

    #[test]
    fn what_is_not_utf8_is_told_apart() {
        check("name=%ff", Some(Err(NotUtf8)));
        check("name=%C3%28", Some(Err(NotUtf8)));
        check("name=%ED%A0%80", Some(Err(NotUtf8)));
    }
}
