//! Cookies: read from requests, written to responses (RFC 6265).
//!
//! Reading is lenient as the field's users are: a pair that is none is passed over. Writing is
//! strict, with the safe attributes as defaults: `Path=/; HttpOnly; SameSite=Lax`.

use super::{Fault, Request, Response};
use crate::http::scan::token_len;

impl<'a> Request<'a> {
    /// The value of a cookie, the first of that name.
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        self.cookies()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// Every cookie as name and value, in the order sent.
    pub fn cookies(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let values = self.head().field_all("cookie");
        values
            .filter_map(|value| std::str::from_utf8(value).ok())
            .flat_map(pairs)
    }
}

fn pairs(value: &str) -> impl Iterator<Item = (&str, &str)> {
    value.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let (name, value) = (name.trim_ascii(), value.trim_ascii());
        // RFC 6265 §4.1.1: the quotes are part of the pair's syntax.
        let inner = value
            .strip_prefix('"')
            .and_then(|value| value.strip_suffix('"'));
        (!name.is_empty()).then_some((name, inner.unwrap_or(value)))
    })
}

/// When a browser sends a cookie along with a request from another site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Never.
    Strict,
    /// Only when the user follows a link.
    Lax,
    /// Always; browsers demand `Secure` with it, so it is set.
    None,
}

/// A cookie to be set.
#[derive(Clone, Debug)]
pub struct SetCookie<'a> {
    name: &'a str,
    value: &'a str,
    path: &'a str,
    domain: Option<&'a str>,
    max_age_s: Option<u64>,
    same_site: SameSite,
    secure: bool,
    http_only: bool,
}

impl<'a> SetCookie<'a> {
    /// A cookie for the session, with `Path=/; HttpOnly; SameSite=Lax`.
    pub fn new(name: &'a str, value: &'a str) -> SetCookie<'a> {
        SetCookie {
            name,
            value,
            path: "/",
            domain: None,
            max_age_s: None,
            same_site: SameSite::Lax,
            // Browsers ignore these names without Secure (RFC 6265bis §4.1.3).
            secure: name.starts_with("__Host-") || name.starts_with("__Secure-"),
            http_only: true,
        }
    }

    /// Makes the browser forget a cookie that was set with the same path and domain.
    pub fn removal(name: &'a str) -> SetCookie<'a> {
        SetCookie::new(name, "").max_age_s(0)
    }

    /// The path below which the cookie is sent.
    #[must_use]
    pub fn path(mut self, path: &'a str) -> SetCookie<'a> {
        self.path = path;
        self
    }

    /// A domain whose subdomains get the cookie too.
    #[must_use]
    pub fn domain(mut self, domain: &'a str) -> SetCookie<'a> {
        self.domain = Some(domain);
        self
    }

    /// Seconds for which the browser keeps the cookie.
    #[must_use]
    pub fn max_age_s(mut self, seconds: u64) -> SetCookie<'a> {
        self.max_age_s = Some(seconds);
        self
    }

    /// When it is sent from other sites.
    #[must_use]
    pub fn same_site(mut self, same_site: SameSite) -> SetCookie<'a> {
        self.same_site = same_site;
        self.secure |= same_site == SameSite::None;
        self
    }

    /// Only over HTTPS; right for every site that has it.
    #[must_use]
    pub fn secure(mut self) -> SetCookie<'a> {
        self.secure = true;
        self
    }

    /// Lets scripts in the page read the cookie.
    #[must_use]
    pub fn readable_by_scripts(mut self) -> SetCookie<'a> {
        self.http_only = false;
        self
    }

    /// The field's value, `None` when a part has a byte that would end it early.
    fn write(&self) -> Option<String> {
        let octet = |b: u8| b.is_ascii_graphic() && !b"\",;\\".contains(&b);
        let attribute = |text: &str| text.bytes().all(|b| (b' '..0x7f).contains(&b) && b != b';');
        let named = !self.name.is_empty() && token_len(self.name.as_bytes()) == self.name.len();
        let sound = self.value.bytes().all(octet) && attribute(self.path);
        if !named || !sound || !attribute(self.domain.unwrap_or_default()) {
            return None;
        }
        let mut out = format!("{}={}; Path={}", self.name, self.value, self.path);
        if let Some(domain) = self.domain {
            out.push_str("; Domain=");
            out.push_str(domain);
        }
        if let Some(seconds) = self.max_age_s {
            out.push_str(&format!("; Max-Age={seconds}"));
        }
        if self.secure {
            out.push_str("; Secure");
        }
        if self.http_only {
            out.push_str("; HttpOnly");
        }
        out.push_str(match self.same_site {
            SameSite::Strict => "; SameSite=Strict",
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None => "; SameSite=None",
        });
        Some(out)
    }
}

impl Response {
    /// Sets a cookie. One whose name, value, path or domain cannot stand in a `Set-Cookie` is
    /// left out and noted as the response's [`Fault`]; encode free text with
    /// [`percent::encode`](super::percent::encode).
    #[must_use]
    pub fn with_cookie(mut self, cookie: &SetCookie<'_>) -> Response {
        match cookie.write() {
            Some(line) => self.append_field("Set-Cookie", line),
            None => self.set_fault(Fault::error(format!(
                "cookie {:?} was left out: a part of it has a byte it cannot have",
                cookie.name
            ))),
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_and_what_is_none_is_passed_over() {
        let read: Vec<_> = pairs("a=1; b=\"x y\";c = 3 ;junk; =v; d=e=f;\"=\"").collect();
        let wanted = [
            ("a", "1"),
            ("b", "x y"),
            ("c", "3"),
            ("d", "e=f"),
            ("\"", "\""),
        ];
        assert_eq!(read, wanted);
        assert_eq!(pairs("").count(), 0);
    }

    fn check(cookie: &SetCookie<'_>, line: Option<&str>) {
        let response = Response::text("a").with_cookie(cookie);
        assert_eq!(response.field("set-cookie"), line.map(str::as_bytes));
        assert_eq!(response.fault().is_none(), line.is_some());
    }

    #[test]
    fn safe_attributes_are_the_default() {
        check(
            &SetCookie::new("a", "1"),
            Some("a=1; Path=/; HttpOnly; SameSite=Lax"),
        );
        check(
            &SetCookie::new("a", "")
                .path("/x")
                .domain("a.b")
                .max_age_s(60)
                .readable_by_scripts(),
            Some("a=; Path=/x; Domain=a.b; Max-Age=60; SameSite=Lax"),
        );
        check(
            &SetCookie::new("__Host-a", "1").same_site(SameSite::Strict),
            Some("__Host-a=1; Path=/; Secure; HttpOnly; SameSite=Strict"),
        );
        check(
            &SetCookie::new("a", "1").same_site(SameSite::None),
            Some("a=1; Path=/; Secure; HttpOnly; SameSite=None"),
        );
        check(
            &SetCookie::removal("a"),
            Some("a=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"),
        );
    }

    #[test]
    fn a_cookie_that_would_smuggle_attributes_is_left_out() {
        for value in ["a; Domain=evil", "a b", "a\r\n", "ü", "a\"", "a,b", "a\\"] {
            check(&SetCookie::new("a", value), None);
        }
        check(&SetCookie::new("a=b", "1"), None);
        check(&SetCookie::new("", "1"), None);
        check(&SetCookie::new("a", "1").path("/;x"), None);
        check(&SetCookie::new("a", "1").domain("a\n"), None);
    }
}
