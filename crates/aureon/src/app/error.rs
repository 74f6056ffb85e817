//! What a handler returns when it cannot answer, and everything that can become a response.
//!
//! Two kinds of error meet in [`Error`]: one made by [`Error::new`] is meant for the client and
//! its message is sent; any `std` error caught by `?` is an inside matter: 500 for the client, the
//! message and its sources for the log. `Error` is itself no `std::error::Error`, which is what
//! lets `?` take all of them.

use std::borrow::Cow;

use super::{Fault, Response};
use crate::http::Status;

/// Turns a value into the response that it means.
pub trait IntoResponse {
    /// The response.
    fn into_response(self) -> Response;
}

/// An answer that is an error.
pub struct Error {
    // Boxed so that a `Result` in a handler stays as small as its good half.
    inner: Box<Inner>,
}

struct Inner {
    status: Status,
    shown: Cow<'static, str>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error whose message is sent to the client.
    pub fn new(status: Status, message: impl Into<Cow<'static, str>>) -> Error {
        Error {
            inner: Box::new(Inner {
                status,
                shown: message.into(),
                source: None,
            }),
        }
    }

    /// The same error with its cause, which is logged and not sent.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        self.inner.source = Some(source.into());
        self
    }

    /// The status it is answered with.
    pub fn status(&self) -> Status {
        self.inner.status
    }

    /// The message for the client.
    pub fn message(&self) -> &str {
        &self.inner.shown
    }

    /// The cause, for the log.
    pub fn source(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.inner.source.as_deref()
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Error {
        Error::from(Status::INTERNAL_SERVER_ERROR).with_source(error)
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Error {
        Error::new(status, status.reason())
    }
}

impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status().code(), self.message())?;
        match self.source() {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let Inner {
            status,
            shown,
            source,
        } = *self.inner;
        let mut response = Response::text(shown).with_status(status);
        if let Some(source) = source {
            let mut message = source.to_string();
            let mut cause = source.source();
            while let Some(error) = cause {
                message.push_str(": ");
                message.push_str(&error.to_string());
                cause = error.source();
            }
            response.set_fault(Fault::error(message));
        }
        response
    }
}

impl IntoResponse for Response {
    #[inline]
    fn into_response(self) -> Response {
        self
    }
}

impl IntoResponse for Status {
    fn into_response(self) -> Response {
        Response::from(self)
    }
}

/// 204.
impl IntoResponse for () {
    fn into_response(self) -> Response {
        Response::new(Status::NO_CONTENT)
    }
}

/// 200, plain text.
impl IntoResponse for &'static str {
    #[inline]
    fn into_response(self) -> Response {
        Response::text(self)
    }
}

/// 200, plain text.
impl IntoResponse for String {
    fn into_response(self) -> Response {
        Response::text(self)
    }
}

/// 200, plain text.
impl IntoResponse for Cow<'static, str> {
    fn into_response(self) -> Response {
        Response::text(self)
    }
}

/// 200, `application/octet-stream`.
impl IntoResponse for Vec<u8> {
    fn into_response(self) -> Response {
        Response::bytes("application/octet-stream", self)
    }
}

/// The response with that status.
impl<R: IntoResponse> IntoResponse for (Status, R) {
    fn into_response(self) -> Response {
        self.1.into_response().with_status(self.0)
    }
}

/// `None` is 404.
impl<R: IntoResponse> IntoResponse for Option<R> {
    fn into_response(self) -> Response {
        match self {
            Some(value) => value.into_response(),
            None => Response::from(Status::NOT_FOUND),
        }
    }
}

impl<R: IntoResponse, E: IntoResponse> IntoResponse for Result<R, E> {
    fn into_response(self) -> Response {
        match self {
            Ok(value) => value.into_response(),
            Err(error) => error.into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: impl IntoResponse, status: u16, body: &str) -> Response {
        let response = value.into_response();
        assert_eq!(response.status().code(), status);
        assert_eq!(response.body().as_bytes(), Some(body.as_bytes()));
        response
    }

    #[test]
    fn common_values_are_responses() {
        check("a", 200, "a");
        check(String::from("a"), 200, "a");
        check(vec![b'a'], 200, "a");
        check(Cow::Borrowed("a"), 200, "a");
        check((), 204, "");
        check(Status::NOT_FOUND, 404, "Not Found");
        check((Status::CREATED, "made"), 201, "made");
        check(Some("a"), 200, "a");
        check(None::<&'static str>, 404, "Not Found");
        check(Ok::<_, Error>("a"), 200, "a");
    }

    #[test]
    fn an_error_of_std_is_hidden_from_the_client_and_kept_for_the_log() {
        fn fails() -> Result<&'static str, Error> {
            let number: u32 = "x".parse()?;
            Ok(if number == 1 { "one" } else { "other" })
        }
        let response = check(fails(), 500, "Internal Server Error");
        assert!(
            response
                .fault()
                .unwrap()
                .message()
                .contains("invalid digit")
        );
        assert!(!response.fault().unwrap().is_panic());
    }

    #[test]
    fn an_error_made_on_purpose_is_shown() {
        let error = Error::new(Status::CONFLICT, "taken").with_source("row 7");
        assert_eq!(format!("{error:?}"), "409 taken: row 7");
        let response = check(error, 409, "taken");
        assert_eq!(response.fault().unwrap().message(), "row 7");
        check(Error::from(Status::FORBIDDEN), 403, "Forbidden");
    }
}
