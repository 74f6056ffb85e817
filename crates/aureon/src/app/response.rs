//! The answer of a handler: a status, fields, a body.
//!
//! Small enough to be moved freely, and built without allocating when the body is static or
//! already owned. Framing is not here: `Content-Length`, `Transfer-Encoding`, `Connection` and
//! `Date` are written by the session, and a handler that tries is refused. The server copies
//! [`Response::field_lines`] into its output as they are.

use std::borrow::Cow;
use std::io;

use super::fields::{Fields, Prepared, Refused};
use super::stock::{give_buffer, take_buffer};
use super::{Body, BodyWriter, Fault, Responder};
use crate::http::Status;

const TEXT: &[u8] = b"Content-Type: text/plain; charset=utf-8\r\n";
const HTML: &[u8] = b"Content-Type: text/html; charset=utf-8\r\n";
const JSON: &[u8] = b"Content-Type: application/json\r\n";

/// A response. Built by a constructor, refined by `with_` methods.
pub struct Response {
    status: Status,
    fields: Fields,
    body: Body,
    fault: Option<Box<Fault>>,
}

// A response passes through several hands on its way; two cache lines are the bound.
const _: () = assert!(size_of::<Response>() <= 128);

impl Response {
    /// No fields, no content.
    pub const fn new(status: Status) -> Response {
        Response::prepared(status, b"", Body::Empty)
    }

    const fn prepared(status: Status, lines: &'static [u8], body: Body) -> Response {
        Response {
            status,
            fields: Fields::from_static(lines),
            body,
            fault: None,
        }
    }

    /// The same as [`Response::new`], where a reader should see that it is meant.
    pub const fn empty(status: Status) -> Response {
        Response::new(status)
    }

    /// 200 with plain text in UTF-8.
    pub fn text(text: impl Into<Cow<'static, str>>) -> Response {
        Response::prepared(Status::OK, TEXT, Body::from(text.into()))
    }

    /// 200 with HTML in UTF-8.
    pub fn html(html: impl Into<Cow<'static, str>>) -> Response {
        Response::prepared(Status::OK, HTML, Body::from(html.into()))
    }

    /// 200 with JSON that is serialised already.
    pub fn json_bytes(json: impl Into<Body>) -> Response {
        Response::prepared(Status::OK, JSON, json.into())
    }

    /// 200 with JSON that `write` appends to a buffer that is used again, so that a small answer
    /// allocates nothing.
    pub fn json_with(write: impl FnOnce(&mut Vec<u8>)) -> Response {
        let mut out = take_buffer();
        write(&mut out);
        Response::json_bytes(out)
    }

    /// Keeps the buffer of content that was sent for another response.
    #[inline(always)]
    pub(crate) fn recycle(&mut self) {
        if let Body::Bytes(bytes) = &mut self.body {
            give_buffer(std::mem::take(bytes));
        }
    }

    /// 200 with any content type.
    pub fn bytes(content_type: &'static str, body: impl Into<Body>) -> Response {
        Response::typed(content_type, body.into())
    }

    fn typed(content_type: &'static str, body: Body) -> Response {
        match content_type_line(content_type) {
            Some(line) => Response::prepared(Status::OK, line, body),
            None => {
                Response::prepared(Status::OK, b"", body).with_field("Content-Type", content_type)
            }
        }
    }

    /// A redirect. Bytes that a URI cannot have (RFC 3986 §2) are percent-encoded, so a location
    /// made from a request's input cannot split the response; where it leads is the caller's
    /// care.
    pub fn redirect(status: Status, location: &str) -> Response {
        let mut escaped = String::with_capacity(location.len());
        for byte in location.bytes() {
            if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
                escaped.push(char::from(byte));
            } else {
                super::percent::write_escape(&mut escaped, byte);
            }
        }
        Response::new(status).with_field("Location", escaped)
    }

    /// A response that is given later: keep the responder, return the response.
    pub fn later() -> (Responder, Response) {
        let (responder, slot) = super::later::later();
        (
            responder,
            Response::prepared(Status::OK, b"", Body::Later(slot)),
        )
    }

    /// 200 with a body that `producer` writes on a thread of the pool, held back while the peer
    /// is slow. An error or a panic in it cuts the body off visibly.
    pub fn stream(
        content_type: &'static str,
        producer: impl FnOnce(&mut BodyWriter) -> io::Result<()> + Send + 'static,
    ) -> Response {
        Response::bytes(content_type, Body::Run(Box::new(producer)))
    }

    /// A failure of ours, with its reason for the log: the client is told the status, and by a 503
    /// to come back in a second.
    #[cold]
    #[inline(never)]
    pub(crate) fn failed(status: Status, why: &str) -> Response {
        let mut response = Response::from(status);
        response.set_fault(Fault::error(why));
        if status == Status::SERVICE_UNAVAILABLE {
            response.set_field("Retry-After", "1");
        }
        response
    }

    /// The status.
    #[inline]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Changes the status.
    pub fn set_status(&mut self, status: Status) {
        self.status = status;
    }

    /// The same response with another status.
    #[must_use]
    pub fn with_status(mut self, status: Status) -> Response {
        self.status = status;
        self
    }

    /// Sets a field, replacing what it had.
    ///
    /// A field that belongs to the session or whose name is no token is a mistake in the
    /// program: it is left out, and asserts in a debug build. A value with a control byte may
    /// come from a request: it is left out and noted as the response's [`Fault`].
    #[must_use]
    pub fn with_field(mut self, name: &str, value: impl AsRef<[u8]>) -> Response {
        self.set_field(name, value);
        self
    }

    /// Like [`Response::with_field`], in place.
    pub fn set_field(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.set_bytes(name, value.as_ref());
    }

    fn set_bytes(&mut self, name: &str, value: &[u8]) {
        let outcome = self.fields.set(name, value);
        self.note_refused(name, outcome);
    }

    /// Adds a field line and keeps those that are there, as `Set-Cookie` needs. Refuses what
    /// [`Response::with_field`] refuses.
    pub fn append_field(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.append_bytes(name, value.as_ref());
    }

    fn append_bytes(&mut self, name: &str, value: &[u8]) {
        let outcome = self.fields.append(name, value);
        self.note_refused(name, outcome);
    }

    /// Sets a field unless it is there.
    pub fn set_field_if_absent(&mut self, name: &str, value: impl AsRef<[u8]>) {
        if self.field(name).is_none() {
            self.append_field(name, value);
        }
    }

    /// Adds lines serialised by [`prepare_fields`](super::prepare_fields) in one piece, whether or
    /// not their fields are there.
    pub fn append_prepared(&mut self, prepared: &Prepared) {
        self.fields.append_prepared(prepared);
    }

    /// Whether one of these fields may be set already.
    #[inline]
    pub(super) fn may_have_any(&self, prepared: &Prepared) -> bool {
        prepared.may_meet(&self.fields)
    }

    /// Sets a field that the program names to a value that is known to be clean.
    #[inline(always)]
    pub(super) fn set_known(&mut self, name: &'static str, value: &[u8]) {
        self.fields.set_known(name, value);
    }

    /// Adds `name` to `Vary` unless it is listed or everything is (RFC 9110 §12.5.5).
    pub fn add_vary(&mut self, name: &str) {
        let Some(old) = self.field("vary") else {
            return self.append_field("Vary", name);
        };
        let listed = |item: &[u8]| item == b"*" || item.eq_ignore_ascii_case(name.as_bytes());
        if !old
            .split(|byte| *byte == b',')
            .any(|item| listed(item.trim_ascii()))
        {
            let joined = [old, b", ", name.as_bytes()].concat();
            self.set_field("Vary", joined);
        }
    }

    fn note_refused(&mut self, name: &str, outcome: Result<(), Refused>) {
        match outcome {
            Ok(()) => {}
            Err(Refused::Value) => {
                self.fault = Some(Box::new(Fault::error(format!(
                    "field {name} was left out: its value has a control byte"
                ))));
            }
            Err(refused) => debug_assert!(false, "field {name:?} was refused: {refused:?}"),
        }
    }

    /// Removes every line of a field.
    pub fn remove_field(&mut self, name: &str) {
        self.fields.remove(name);
    }

    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields.first(name)
    }

    /// Every field as name and value, in the order in which they are sent.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter()
    }

    /// Takes lines serialised by [`prepare_fields`](super::prepare_fields) in place of the
    /// constructor's, the content type among them. Shared: costs no allocation.
    #[must_use]
    pub fn with_prepared(mut self, prepared: Prepared) -> Response {
        self.fields.set_prepared(prepared);
        self
    }

    /// The field lines as they are sent: the prepared part, then the response's own.
    #[inline]
    pub fn field_lines(&self) -> (&[u8], &[u8]) {
        (self.fields.prepared(), self.fields.own())
    }

    /// The body.
    #[inline]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The body, to be changed.
    pub fn body_mut(&mut self) -> &mut Body {
        &mut self.body
    }

    /// Replaces the body; the content type stays.
    pub fn set_body(&mut self, body: impl Into<Body>) {
        self.body = body.into();
    }

    /// The same response with another body; the content type stays.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Body>) -> Response {
        self.body = body.into();
        self
    }

    /// Moves the body out and leaves an empty one.
    pub fn take_body(&mut self) -> Body {
        std::mem::take(&mut self.body)
    }

    /// What went wrong in the user's part, if something did.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_deref()
    }

    /// Notes what went wrong, for the log.
    pub fn set_fault(&mut self, fault: Fault) {
        self.fault = Some(Box::new(fault));
    }
}

/// A status alone: its reason as plain text where content is allowed, so that a person who meets
/// an error sees more than a blank page.
impl From<Status> for Response {
    fn from(status: Status) -> Response {
        if status.has_no_content() || status == Status::RESET_CONTENT {
            Response::new(status)
        } else {
            Response::prepared(status, TEXT, Body::Static(status.reason().as_bytes()))
        }
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (prepared, own) = self.field_lines();
        f.debug_struct("Response")
            .field("status", &self.status.code())
            .field(
                "fields",
                &String::from_utf8_lossy(&[prepared, own].concat()),
            )
            .field("body", &self.body)
            .field("fault", &self.fault)
            .finish()
    }
}

/// The line of a common content type, so that it needs no buffer.
fn content_type_line(content_type: &str) -> Option<&'static [u8]> {
    macro_rules! lines {
        ($($name:literal)*) => {
            match content_type {
                $($name => Some(concat!("Content-Type: ", $name, "\r\n").as_bytes()),)*
                _ => None,
            }
        };
    }
    lines! {
        "application/json"
        "application/octet-stream"
        "text/plain; charset=utf-8"
        "text/html; charset=utf-8"
        "text/css; charset=utf-8"
        "text/javascript; charset=utf-8"
        "text/event-stream"
        "image/png"
        "image/svg+xml"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(response: &Response, status: u16, lines: &str) {
        let (prepared, own) = response.field_lines();
        assert_eq!(response.status().code(), status);
        assert_eq!(String::from_utf8([prepared, own].concat()).unwrap(), lines);
    }

    #[test]
    fn constructors_name_their_content_type() {
        check(
            &Response::text("a"),
            200,
            "Content-Type: text/plain; charset=utf-8\r\n",
        );
        check(
            &Response::html("a"),
            200,
            "Content-Type: text/html; charset=utf-8\r\n",
        );
        check(
            &Response::json_bytes("{}"),
            200,
            "Content-Type: application/json\r\n",
        );
        check(
            &Response::bytes("image/png", "x"),
            200,
            "Content-Type: image/png\r\n",
        );
        check(&Response::bytes("x/y", "x"), 200, "Content-Type: x/y\r\n");
        check(&Response::empty(Status::NO_CONTENT), 204, "");
    }

    #[test]
    fn a_status_alone_explains_itself_where_content_is_allowed() {
        assert_eq!(
            Response::from(Status::NOT_FOUND).body().as_bytes(),
            Some(&b"Not Found"[..])
        );
        assert!(Response::from(Status::NOT_MODIFIED).body().is_empty());
        assert_eq!(
            Response::from(Status::NO_CONTENT).field("content-type"),
            None
        );
    }

    #[test]
    fn a_location_made_from_input_cannot_split_the_response() {
        let response = Response::redirect(Status::SEE_OTHER, "/a b\r\nX: y/ü?q=1&r=%20");
        check(
            &response,
            303,
            "Location: /a%20b%0D%0AX:%20y/%C3%BC?q=1&r=%20\r\n",
        );
    }

    #[test]
    fn a_value_with_a_control_byte_is_left_out_and_noted() {
        let response = Response::text("a").with_field("X-Name", "a\r\nX-Evil: 1");
        check(
            &response,
            200,
            "Content-Type: text/plain; charset=utf-8\r\n",
        );
        assert!(response.fault().unwrap().message().contains("X-Name"));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "Framing")]
    fn a_field_of_the_session_asserts_in_a_debug_build() {
        let _ = Response::text("a").with_field("Content-Length", "1");
    }

    #[test]
    fn vary_lists_each_name_once() {
        let mut response = Response::text("a");
        response.add_vary("Origin");
        response.add_vary("Accept-Encoding");
        response.add_vary("origin");
        assert_eq!(
            response.field("vary"),
            Some(&b"Origin, Accept-Encoding"[..])
        );
        let mut all = Response::text("a").with_field("Vary", "*");
        all.add_vary("Origin");
        assert_eq!(all.field("vary"), Some(&b"*"[..]));
    }

    #[test]
    fn prepared_lines_take_the_place_of_the_constructors() {
        let lines = crate::app::prepare_fields([("Content-Type", &b"x/y"[..])]);
        check(
            &Response::text("a").with_prepared(lines),
            200,
            "Content-Type: x/y\r\n",
        );
    }
}
