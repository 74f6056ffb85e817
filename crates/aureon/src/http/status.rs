//! Status codes (RFC 9110 §15 and the IANA registry).
//!
//! A [`Status`] is any code from 100 to 599; the registered ones have a constant and a reason
//! phrase. The phrase is for people: RFC 9112 §4 lets clients ignore it.

/// A response's status code, 100 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status(u16);

impl Status {
    /// 100 Continue.
    pub const CONTINUE: Status = Status(100);
    /// 101 Switching Protocols.
    pub const SWITCHING_PROTOCOLS: Status = Status(101);
    /// 103 Early Hints.
    pub const EARLY_HINTS: Status = Status(103);
    /// 200 OK.
    pub const OK: Status = Status(200);
    /// 201 Created.
    pub const CREATED: Status = Status(201);
    /// 202 Accepted.
    pub const ACCEPTED: Status = Status(202);
    /// 203 Non-Authoritative Information.
    pub const NON_AUTHORITATIVE_INFORMATION: Status = Status(203);
    /// 204 No Content.
    pub const NO_CONTENT: Status = Status(204);
    /// 205 Reset Content.
    pub const RESET_CONTENT: Status = Status(205);
    /// 206 Partial Content.
    pub const PARTIAL_CONTENT: Status = Status(206);
    /// 207 Multi-Status.
    pub const MULTI_STATUS: Status = Status(207);
    /// 300 Multiple Choices.
    pub const MULTIPLE_CHOICES: Status = Status(300);
    /// 301 Moved Permanently.
    pub const MOVED_PERMANENTLY: Status = Status(301);
    /// 302 Found.
    pub const FOUND: Status = Status(302);
    /// 303 See Other.
    pub const SEE_OTHER: Status = Status(303);
    /// 304 Not Modified.
    pub const NOT_MODIFIED: Status = Status(304);
    /// 307 Temporary Redirect.
    pub const TEMPORARY_REDIRECT: Status = Status(307);
    /// 308 Permanent Redirect.
    pub const PERMANENT_REDIRECT: Status = Status(308);
    /// 400 Bad Request.
    pub const BAD_REQUEST: Status = Status(400);
    /// 401 Unauthorized.
    pub const UNAUTHORIZED: Status = Status(401);
    /// 402 Payment Required.
    pub const PAYMENT_REQUIRED: Status = Status(402);
    /// 403 Forbidden.
    pub const FORBIDDEN: Status = Status(403);
    /// 404 Not Found.
    pub const NOT_FOUND: Status = Status(404);
    /// 405 Method Not Allowed.
    pub const METHOD_NOT_ALLOWED: Status = Status(405);
    /// 406 Not Acceptable.
    pub const NOT_ACCEPTABLE: Status = Status(406);
    /// 407 Proxy Authentication Required.
    pub const PROXY_AUTHENTICATION_REQUIRED: Status = Status(407);
    /// 408 Request Timeout.
    pub const REQUEST_TIMEOUT: Status = Status(408);
    /// 409 Conflict.
    pub const CONFLICT: Status = Status(409);
    /// 410 Gone.
    pub const GONE: Status = Status(410);
    /// 411 Length Required.
    pub const LENGTH_REQUIRED: Status = Status(411);
    /// 412 Precondition Failed.
    pub const PRECONDITION_FAILED: Status = Status(412);
    /// 413 Content Too Large.
    pub const CONTENT_TOO_LARGE: Status = Status(413);
    /// 414 URI Too Long.
    pub const URI_TOO_LONG: Status = Status(414);
    /// 415 Unsupported Media Type.
    pub const UNSUPPORTED_MEDIA_TYPE: Status = Status(415);
    /// 416 Range Not Satisfiable.
    pub const RANGE_NOT_SATISFIABLE: Status = Status(416);
    /// 417 Expectation Failed.
    pub const EXPECTATION_FAILED: Status = Status(417);
    /// 418 I'm a Teapot.
    pub const IM_A_TEAPOT: Status = Status(418);
    /// 421 Misdirected Request.
    pub const MISDIRECTED_REQUEST: Status = Status(421);
    /// 422 Unprocessable Content.
    pub const UNPROCESSABLE_CONTENT: Status = Status(422);
    /// 423 Locked.
    pub const LOCKED: Status = Status(423);
    /// 424 Failed Dependency.
    pub const FAILED_DEPENDENCY: Status = Status(424);
    /// 425 Too Early.
    pub const TOO_EARLY: Status = Status(425);
    /// 426 Upgrade Required.
    pub const UPGRADE_REQUIRED: Status = Status(426);
    /// 428 Precondition Required.
    pub const PRECONDITION_REQUIRED: Status = Status(428);
    /// 429 Too Many Requests.
    pub const TOO_MANY_REQUESTS: Status = Status(429);
    /// 431 Request Header Fields Too Large.
    pub const REQUEST_HEADER_FIELDS_TOO_LARGE: Status = Status(431);
    /// 451 Unavailable For Legal Reasons.
    pub const UNAVAILABLE_FOR_LEGAL_REASONS: Status = Status(451);
    /// 500 Internal Server Error.
    pub const INTERNAL_SERVER_ERROR: Status = Status(500);
    /// 501 Not Implemented.
    pub const NOT_IMPLEMENTED: Status = Status(501);
    /// 502 Bad Gateway.
    pub const BAD_GATEWAY: Status = Status(502);
    /// 503 Service Unavailable.
    pub const SERVICE_UNAVAILABLE: Status = Status(503);
    /// 504 Gateway Timeout.
    pub const GATEWAY_TIMEOUT: Status = Status(504);
    /// 505 HTTP Version Not Supported.
    pub const HTTP_VERSION_NOT_SUPPORTED: Status = Status(505);
    /// 507 Insufficient Storage.
    pub const INSUFFICIENT_STORAGE: Status = Status(507);
    /// 511 Network Authentication Required.
    pub const NETWORK_AUTHENTICATION_REQUIRED: Status = Status(511);

    /// The status of a code, `None` outside 100 to 599 (RFC 9110 §15).
    pub const fn new(code: u16) -> Option<Status> {
        if code >= 100 && code <= 599 {
            Some(Status(code))
        } else {
            None
        }
    }

    /// The three-digit code.
    pub const fn code(self) -> u16 {
        self.0
    }

    /// Whether the answer is an error of either side, 400 to 599.
    pub const fn is_error(self) -> bool {
        self.0 >= 400
    }

    /// Whether a response of this status never has content: 1xx, 204, 304 (RFC 9110 §6.4.1).
    pub const fn has_no_content(self) -> bool {
        self.0 < 200 || self.0 == 204 || self.0 == 304
    }

    /// The registered reason phrase, empty for codes without one.
    pub const fn reason(self) -> &'static str {
        match self.0 {
            100 => "Continue",
            101 => "Switching Protocols",
            103 => "Early Hints",
            200 => "OK",
            201 => "Created",
            202 => "Accepted",
            203 => "Non-Authoritative Information",
            204 => "No Content",
            205 => "Reset Content",
            206 => "Partial Content",
            207 => "Multi-Status",
            300 => "Multiple Choices",
            301 => "Moved Permanently",
            302 => "Found",
            303 => "See Other",
            304 => "Not Modified",
            307 => "Temporary Redirect",
            308 => "Permanent Redirect",
            400 => "Bad Request",
            401 => "Unauthorized",
            402 => "Payment Required",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            406 => "Not Acceptable",
            407 => "Proxy Authentication Required",
            408 => "Request Timeout",
            409 => "Conflict",
            410 => "Gone",
            411 => "Length Required",
            412 => "Precondition Failed",
            413 => "Content Too Large",
            414 => "URI Too Long",
            415 => "Unsupported Media Type",
            416 => "Range Not Satisfiable",
            417 => "Expectation Failed",
            418 => "I'm a Teapot",
            421 => "Misdirected Request",
            422 => "Unprocessable Content",
            423 => "Locked",
            424 => "Failed Dependency",
            425 => "Too Early",
            426 => "Upgrade Required",
            428 => "Precondition Required",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            451 => "Unavailable For Legal Reasons",
            500 => "Internal Server Error",
            501 => "Not Implemented",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            505 => "HTTP Version Not Supported",
            507 => "Insufficient Storage",
            511 => "Network Authentication Required",
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_outside_three_digits_are_no_status() {
        assert_eq!(Status::new(99), None);
        assert_eq!(Status::new(600), None);
        assert_eq!(Status::new(200), Some(Status::OK));
        assert_eq!(Status::new(299).map(Status::reason), Some(""));
    }
}
