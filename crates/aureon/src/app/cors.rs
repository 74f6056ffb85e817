//! Cross-origin requests: which pages of other sites may read our answers (WHATWG Fetch §3.3).
//!
//! A browser asks first (a *preflight*, OPTIONS with `Access-Control-Request-Method`) and is
//! answered here without the handler. The check is the browser's: a page that may not read an
//! answer has sent its request all the same.

use super::{Middleware, Prepared, Request, Response, prepare_fields};
use crate::http::{Method, Status};

/// Middleware for cross-origin requests.
#[derive(Clone, Debug)]
pub struct Cors {
    /// `None` is any.
    origins: Option<Vec<String>>,
    /// What every answer gets when any may read it.
    any: Prepared,
    methods: String,
    headers: Option<String>,
    exposed: Option<String>,
    credentials: bool,
    max_age_s: u32,
}

impl Cors {
    /// Every page may read the answers, without the user's cookies: right for public data.
    pub fn any() -> Cors {
        Cors {
            origins: None,
            any: prepare_fields([("Access-Control-Allow-Origin", &b"*"[..])]),
            methods: String::from("GET, HEAD, POST, PUT, DELETE, PATCH"),
            headers: None,
            exposed: None,
            credentials: false,
            // 2 hours: Chromium keeps an answer no longer.
            max_age_s: 7_200,
        }
    }

    /// Only pages of these origins, written as browsers send them: `https://example.com`.
    pub fn only<'o>(origins: impl IntoIterator<Item = &'o str>) -> Cors {
        let origins = origins.into_iter().map(String::from).collect();
        Cors {
            origins: Some(origins),
            ..Cors::any()
        }
    }

    /// The methods that are allowed beyond the simple ones.
    #[must_use]
    pub fn methods(mut self, methods: &[Method]) -> Cors {
        self.methods = methods
            .iter()
            .map(|m| m.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        self
    }

    /// The request fields that are allowed; by default those that are asked for.
    #[must_use]
    pub fn headers(mut self, names: &[&str]) -> Cors {
        self.headers = Some(names.join(", "));
        self
    }

    /// The response fields that scripts may read.
    #[must_use]
    pub fn expose(mut self, names: &[&str]) -> Cors {
        self.exposed = Some(names.join(", "));
        self
    }

    /// Lets the user's cookies be sent along. Has no effect with [`Cors::any`]: every site of the
    /// web could then act as the user, and browsers refuse it.
    #[must_use]
    pub fn credentials(mut self) -> Cors {
        self.credentials = true;
        self
    }

    /// Seconds for which a browser remembers the answer to a preflight.
    #[must_use]
    pub fn max_age_s(mut self, seconds: u32) -> Cors {
        self.max_age_s = seconds;
        self
    }
}

impl Middleware for Cors {
    fn before(&self, request: &Request<'_>) -> Option<Response> {
        if request.method() != Method::Options
            || request.field("access-control-request-method").is_none()
            || request.field("origin").is_none()
        {
            return None;
        }
        let mut response = Response::new(Status::NO_CONTENT)
            .with_field("Access-Control-Allow-Methods", &self.methods)
            .with_field("Access-Control-Max-Age", self.max_age_s.to_string());
        response.add_vary("Access-Control-Request-Method");
        response.add_vary("Access-Control-Request-Headers");
        let asked = request.field("access-control-request-headers");
        if let Some(names) = self.headers.as_deref().map(str::as_bytes).or(asked) {
            response.set_field("Access-Control-Allow-Headers", names);
        }
        Some(response)
    }

    fn after(&self, request: &Request<'_>, response: &mut Response) {
        match &self.origins {
            None if !response.may_have_any(&self.any) => response.append_prepared(&self.any),
            None => response.set_field_if_absent("Access-Control-Allow-Origin", "*"),
            Some(origins) => {
                // The answer differs by origin, for caches also where it has none.
                response.add_vary("Origin");
                let Some(origin) = request.field_str("origin") else {
                    return;
                };
                if !origins.iter().any(|allowed| allowed == origin) {
                    return;
                }
                response.set_field("Access-Control-Allow-Origin", origin);
                if self.credentials {
                    response.set_field("Access-Control-Allow-Credentials", "true");
                }
            }
        }
        if let Some(exposed) = &self.exposed {
            response.set_field("Access-Control-Expose-Headers", exposed);
        }
    }

    fn unhandled(&self, request: &Request<'_>, response: &mut Response) {
        self.after(request, response);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Answer, Ask, Client, Router};

    fn check(cors: Cors, ask: &Ask, status: u16, fields: &[(&str, Option<&str>)]) -> Answer {
        let mut router = Router::new();
        router.with(cors).get("/", |_| "ok");
        let answer = Client::new(router.build().unwrap()).send(ask);
        assert_eq!(answer.status().code(), status);
        for (name, value) in fields {
            assert_eq!(answer.field(name), *value, "{name}");
        }
        answer
    }

    const ORIGIN: &str = "access-control-allow-origin";

    #[test]
    fn any_page_may_read_public_data() {
        check(
            Cors::any().credentials(),
            &Ask::get("/"),
            200,
            &[
                (ORIGIN, Some("*")),
                ("access-control-allow-credentials", None),
                ("vary", None),
            ],
        );
        check(Cors::any(), &Ask::get("/none"), 404, &[(ORIGIN, Some("*"))]);
    }

    #[test]
    fn a_listed_origin_is_named_and_another_is_not() {
        let cors = || {
            Cors::only(["https://a.example"])
                .credentials()
                .expose(&["X-Total"])
        };
        check(
            cors(),
            &Ask::get("/").field("Origin", "https://a.example"),
            200,
            &[
                (ORIGIN, Some("https://a.example")),
                ("access-control-allow-credentials", Some("true")),
                ("access-control-expose-headers", Some("X-Total")),
                ("vary", Some("Origin")),
            ],
        );
        for origin in ["https://b.example", "null", "https://a.example.evil"] {
            let fields = [(ORIGIN, None), ("vary", Some("Origin"))];
            check(cors(), &Ask::get("/").field("Origin", origin), 200, &fields);
        }
    }

    #[test]
    fn a_preflight_is_answered_without_the_route() {
        let preflight = |path| {
            Ask::new(Method::Options, path)
                .field("Origin", "https://a.example")
                .field("Access-Control-Request-Method", "PUT")
                .field("Access-Control-Request-Headers", "x-one, x-two")
        };
        check(
            Cors::any(),
            &preflight("/"),
            204,
            &[
                (ORIGIN, Some("*")),
                (
                    "access-control-allow-methods",
                    Some("GET, HEAD, POST, PUT, DELETE, PATCH"),
                ),
                ("access-control-allow-headers", Some("x-one, x-two")),
                ("access-control-max-age", Some("7200")),
                ("allow", None),
            ],
        );
        let narrow = Cors::only(["https://a.example"])
            .methods(&[Method::Put])
            .headers(&["x-one"]);
        check(
            narrow.max_age_s(5),
            &preflight("/none"),
            204,
            &[
                (ORIGIN, Some("https://a.example")),
                ("access-control-allow-methods", Some("PUT")),
                ("access-control-allow-headers", Some("x-one")),
                ("access-control-max-age", Some("5")),
            ],
        );
    }

    #[test]
    fn an_ordinary_options_is_not_a_preflight() {
        check(
            Cors::any(),
            &Ask::new(Method::Options, "/"),
            204,
            &[(ORIGIN, Some("*")), ("allow", Some("GET, HEAD, OPTIONS"))],
        );
    }
}
