//! Request methods (RFC 9110 §9, RFC 5789 for PATCH).
//!
//! The set is closed: a method we do not know is answered 501 (RFC 9110 §9.1), so a route can
//! only be registered for one of these.

/// A request method. Methods are case-sensitive (RFC 9110 §9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// RFC 9110 §9.3.1.
    Get,
    /// RFC 9110 §9.3.2.
    Head,
    /// RFC 9110 §9.3.3.
    Post,
    /// RFC 9110 §9.3.4.
    Put,
    /// RFC 9110 §9.3.5.
    Delete,
    /// RFC 5789.
    Patch,
    /// RFC 9110 §9.3.7.
    Options,
    /// RFC 9110 §9.3.8. Known, so that it is refused with 405 and not 501; no route answers it.
    Trace,
    /// RFC 9110 §9.3.6. Known only to parse its target; an origin server refuses it.
    Connect,
}

impl Method {
    /// Every method, in the order in which an `Allow` field lists them.
    pub const ALL: [Method; 9] = [
        Method::Get,
        Method::Head,
        Method::Post,
        Method::Put,
        Method::Delete,
        Method::Patch,
        Method::Options,
        Method::Trace,
        Method::Connect,
    ];

    /// The method's token.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Patch => "PATCH",
            Method::Options => "OPTIONS",
            Method::Trace => "TRACE",
            Method::Connect => "CONNECT",
        }
    }

    /// Whether content in a request of this method means anything (RFC 9110 §9.3).
    pub const fn takes_content(self) -> bool {
        matches!(
            self,
            Method::Post | Method::Put | Method::Patch | Method::Delete
        )
    }

    /// The method of a token, `None` for one we do not know.
    pub fn from_bytes(token: &[u8]) -> Option<Method> {
        Some(match token {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"PATCH" => Method::Patch,
            b"OPTIONS" => Method::Options,
            b"TRACE" => Method::Trace,
            b"CONNECT" => Method::Connect,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_read_back_from_its_token() {
        for method in Method::ALL {
            assert_eq!(Method::from_bytes(method.as_str().as_bytes()), Some(method));
        }
        assert_eq!(Method::from_bytes(b"get"), None);
        assert_eq!(Method::from_bytes(b"PROPFIND"), None);
    }
}
