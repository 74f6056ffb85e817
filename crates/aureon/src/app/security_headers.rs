//! Response fields that switch on what browsers can do against common attacks.
//!
//! The defaults break no ordinary site; what depends on the site (a content security policy,
//! HTTPS only) is added by name. A field that the handler has set stays.

use super::{Middleware, Prepared, Request, Response, prepare_fields};

/// Middleware that adds them to every answer.
#[derive(Clone, Debug)]
pub struct SecurityHeaders {
    fields: Vec<(&'static str, String)>,
    /// All of them as lines: what most answers get, in one copy.
    prepared: Prepared,
}

impl SecurityHeaders {
    /// No type sniffing, no framing by other sites, no paths in referrers to other sites, no
    /// shared window group with other sites.
    pub fn new() -> SecurityHeaders {
        let fields = [
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "SAMEORIGIN"),
            ("Referrer-Policy", "strict-origin-when-cross-origin"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
        ];
        SecurityHeaders::of(
            fields
                .map(|(name, value)| (name, String::from(value)))
                .into(),
        )
    }

    /// What pages may load and run (CSP).
    #[must_use]
    pub fn content_security_policy(self, policy: &str) -> SecurityHeaders {
        self.with("Content-Security-Policy", String::from(policy))
    }

    /// Tells browsers to use HTTPS only, for so many seconds (RFC 6797). Not easily taken back.
    #[must_use]
    pub fn strict_transport_s(self, seconds: u64) -> SecurityHeaders {
        self.with("Strict-Transport-Security", format!("max-age={seconds}"))
    }

    /// Leaves out one of the fields.
    #[must_use]
    pub fn without(mut self, name: &str) -> SecurityHeaders {
        self.fields
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        SecurityHeaders::of(self.fields)
    }

    fn with(self, name: &'static str, value: String) -> SecurityHeaders {
        let mut fields = self.without(name).fields;
        fields.push((name, value));
        SecurityHeaders::of(fields)
    }

    fn of(fields: Vec<(&'static str, String)>) -> SecurityHeaders {
        let prepared = prepare_fields(fields.iter().map(|(name, value)| (*name, value.as_bytes())));
        SecurityHeaders { fields, prepared }
    }
}

impl Default for SecurityHeaders {
    fn default() -> SecurityHeaders {
        SecurityHeaders::new()
    }
}

impl Middleware for SecurityHeaders {
    fn after(&self, _: &Request<'_>, response: &mut Response) {
        if !response.may_have_any(&self.prepared) {
            return response.append_prepared(&self.prepared);
        }
        for (name, value) in &self.fields {
            response.set_field_if_absent(name, value);
        }
    }

    fn unhandled(&self, request: &Request<'_>, response: &mut Response) {
        self.after(request, response);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Client, Router};

    #[test]
    fn every_answer_has_them_and_the_handlers_stay() {
        let headers = SecurityHeaders::new()
            .content_security_policy("default-src 'self'")
            .strict_transport_s(60)
            .without("cross-origin-opener-policy");
        let mut router = Router::new();
        router.with(headers);
        router.get("/", |_| {
            Response::text("a").with_field("x-frame-options", "DENY")
        });
        let client = Client::new(router.build().unwrap());
        for (path, frames) in [("/", "DENY"), ("/none", "SAMEORIGIN")] {
            let answer = client.get(path);
            assert_eq!(answer.field("X-Frame-Options"), Some(frames));
            assert_eq!(answer.field("X-Content-Type-Options"), Some("nosniff"));
            assert_eq!(
                answer.field("Content-Security-Policy"),
                Some("default-src 'self'")
            );
            assert_eq!(
                answer.field("Strict-Transport-Security"),
                Some("max-age=60")
            );
            assert_eq!(answer.field("Cross-Origin-Opener-Policy"), None);
        }
    }
}
