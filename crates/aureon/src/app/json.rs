//! Typed JSON bodies, through serde; the feature `json`.
//!
//! The three ways a body can be wrong are told apart: not JSON by its own account (415), not
//! JSON (400), JSON of another shape (422). serde_json bounds the nesting at 128.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::{Error, IntoResponse, Request, Response};
use crate::http::Status;

impl Request<'_> {
    /// The body as a `T`. 415 unless the content type is `application/json` or ends in `+json`,
    /// 400 when it is not JSON, 422 when it does not fit a `T`; the message says where.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let media_type = self.media_type().unwrap_or_default().to_ascii_lowercase();
        if media_type != "application/json" && !media_type.ends_with("+json") {
            return Err(Error::new(
                Status::UNSUPPORTED_MEDIA_TYPE,
                "expected application/json",
            ));
        }
        serde_json::from_slice(self.body()).map_err(|error| {
            let status = match error.classify() {
                Category::Data => Status::UNPROCESSABLE_CONTENT,
                Category::Syntax | Category::Eof | Category::Io => Status::BAD_REQUEST,
            };
            Error::new(status, error.to_string())
        })
    }
}

impl Response {
    /// 200 with a value as JSON. A value that cannot be serialised, such as a map whose keys are
    /// no strings, is a 500.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Response {
        match serde_json::to_vec(value) {
            Ok(bytes) => Response::json_bytes(bytes),
            Err(error) => Error::from(error).into_response(),
        }
    }
}

/// A value to be answered as JSON, for handlers that return it directly.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(
    /// The value.
    pub T,
);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        Response::json(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Ask, Client, Router};
    use std::collections::BTreeMap;

    #[test]
    fn the_three_ways_to_be_wrong_are_told_apart() {
        let mut router = Router::new();
        router.post("/", |request: &Request<'_>| -> Result<Json<u32>, Error> {
            let numbers: Vec<u32> = request.json()?;
            Ok(Json(numbers.iter().sum()))
        });
        let client = Client::new(router.build().unwrap());
        let check = |content_type: &str, body: &str, status: u16, text: &str| {
            let ask = Ask::post("/")
                .field("Content-Type", content_type)
                .body(body);
            let answer = client.send(&ask);
            assert_eq!(answer.status().code(), status, "{body}");
            assert!(answer.text().contains(text), "{}", answer.text());
        };
        check("application/json", "[1,2]", 200, "3");
        check("Application/Problem+JSON; charset=utf-8", "[4]", 200, "4");
        check("text/plain", "[1]", 415, "application/json");
        check("application/json", "[1", 400, "line 1 column 2");
        check("application/json", "[1]x", 400, "trailing");
        check("application/json", "[\"1\"]", 422, "invalid type");
    }

    #[test]
    fn a_value_that_cannot_be_json_is_a_500() {
        let response = Response::json(&BTreeMap::from([(vec![1], 1)]));
        assert_eq!(response.status(), Status::INTERNAL_SERVER_ERROR);
        assert!(response.fault().is_some());
    }
}
