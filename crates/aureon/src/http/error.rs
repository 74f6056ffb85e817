//! What a peer can do wrong, one variant for each place (RFC 9112 §11, RFC 9110 §15.5).
//!
//! Every error knows the status that answers it. After an error the session answers nothing more
//! and the connection closes: a peer whose framing we do not share could otherwise smuggle a
//! request behind it (RFC 9112 §11.2).

use super::Status;
use std::fmt;

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Error {
    /// The method is no token, or something other than one space follows it.
    Method,
    /// A well-formed method that this server does not know.
    MethodUnknown,
    /// CONNECT: an origin server is no tunnel.
    MethodConnect,
    /// The request target is in none of the four forms of RFC 9112 §3.2, or not one that fits
    /// the method, or has a byte that a URI cannot have.
    Target,
    /// The request target is longer than `target_bytes_max`.
    TargetTooLong,
    /// The last part of the request line is not `HTTP/` digit `.` digit.
    Version,
    /// A well-formed version other than 1.0 and 1.1.
    VersionUnsupported,
    /// A line of the head ended with a bare LF, or a CR stood alone.
    LineEnd,
    /// A field name is empty or has a byte that no token has, such as a space before the colon.
    FieldName,
    /// A field value has a control byte.
    FieldValue,
    /// A field line began with a space or tab: obsolete line folding (RFC 9112 §5.2).
    FieldFolded,
    /// The head, or the trailer section, has more bytes than `head_bytes_max`.
    HeadTooLarge,
    /// The head, or the trailer section, has more field lines than `head_fields_max`.
    FieldsTooMany,
    /// No Host (RFC 9112 §3.2).
    HostMissing,
    /// More than one Host, or one that differs from the authority of the target.
    HostConflict,
    /// A Host that is no `uri-host [":" port]`.
    Host,
    /// A Content-Length that is not digits only, or does not fit 63 bits.
    ContentLength,
    /// More than one Content-Length, equal or not.
    ContentLengthConflict,
    /// Both Content-Length and Transfer-Encoding.
    FramingConflict,
    /// Content in a request whose method gives it no meaning: GET, HEAD, OPTIONS, TRACE.
    ContentUnexpected,
    /// More than one Content-Type.
    ContentTypeConflict,
    /// Transfer-Encoding in HTTP/1.0, or one that is not a well-formed list.
    TransferEncoding,
    /// A Transfer-Encoding we do not decode.
    TransferEncodingUnknown,
    /// More than one Expect, or an expectation other than `100-continue`.
    Expectation,
    /// A chunk size that is empty, not hexadecimal, or too large.
    ChunkSize,
    /// A malformed chunk extension.
    ChunkExtension,
    /// Chunk extensions with more bytes than `chunk_extension_bytes_max`.
    ChunkExtensionsTooLarge,
    /// A chunk's data was not followed by CRLF.
    ChunkEnd,
    /// A trailer field that would change framing, routing or authentication (RFC 9110 §6.5.1).
    TrailerField,
    /// The body is larger than its route takes.
    BodyTooLarge,
    /// A body without a length where one is needed.
    LengthRequired,
    /// The head did not arrive in `head_timeout_ms`.
    HeadTimeout,
    /// The body came slower than `body_rate_min`.
    BodyTimeout,
    /// A client behind a trusted proxy has `connections_per_address_max` requests under way.
    RequestsTooMany,
    /// No PROXY header where the listener expects one, or from a peer who may send none.
    ProxyHeader,
}

impl Error {
    /// Every error, in the order of their declaration.
    pub const ALL: [Error; 35] = [
        Error::Method,
        Error::MethodUnknown,
        Error::MethodConnect,
        Error::Target,
        Error::TargetTooLong,
        Error::Version,
        Error::VersionUnsupported,
        Error::LineEnd,
        Error::FieldName,
        Error::FieldValue,
        Error::FieldFolded,
        Error::HeadTooLarge,
        Error::FieldsTooMany,
        Error::HostMissing,
        Error::HostConflict,
        Error::Host,
        Error::ContentLength,
        Error::ContentLengthConflict,
        Error::FramingConflict,
        Error::ContentUnexpected,
        Error::ContentTypeConflict,
        Error::TransferEncoding,
        Error::TransferEncodingUnknown,
        Error::Expectation,
        Error::ChunkSize,
        Error::ChunkExtension,
        Error::ChunkExtensionsTooLarge,
        Error::ChunkEnd,
        Error::TrailerField,
        Error::BodyTooLarge,
        Error::LengthRequired,
        Error::HeadTimeout,
        Error::BodyTimeout,
        Error::RequestsTooMany,
        Error::ProxyHeader,
    ];

    /// The status that answers this error.
    pub const fn status(self) -> Status {
        match self {
            Error::MethodUnknown | Error::MethodConnect | Error::TransferEncodingUnknown => {
                Status::NOT_IMPLEMENTED
            }
            Error::TargetTooLong => Status::URI_TOO_LONG,
            Error::VersionUnsupported => Status::HTTP_VERSION_NOT_SUPPORTED,
            Error::HeadTooLarge | Error::FieldsTooMany | Error::ChunkExtensionsTooLarge => {
                Status::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Error::Expectation => Status::EXPECTATION_FAILED,
            Error::BodyTooLarge => Status::CONTENT_TOO_LARGE,
            Error::LengthRequired => Status::LENGTH_REQUIRED,
            Error::HeadTimeout | Error::BodyTimeout => Status::REQUEST_TIMEOUT,
            Error::RequestsTooMany => Status::TOO_MANY_REQUESTS,
            _ => Status::BAD_REQUEST,
        }
    }

    /// A stable name for logs, counters and transcripts.
    pub const fn name(self) -> &'static str {
        match self {
            Error::Method => "Method",
            Error::MethodUnknown => "MethodUnknown",
            Error::MethodConnect => "MethodConnect",
            Error::Target => "Target",
            Error::TargetTooLong => "TargetTooLong",
            Error::Version => "Version",
            Error::VersionUnsupported => "VersionUnsupported",
            Error::LineEnd => "LineEnd",
            Error::FieldName => "FieldName",
            Error::FieldValue => "FieldValue",
            Error::FieldFolded => "FieldFolded",
            Error::HeadTooLarge => "HeadTooLarge",
            Error::FieldsTooMany => "FieldsTooMany",
            Error::HostMissing => "HostMissing",
            Error::HostConflict => "HostConflict",
            Error::Host => "Host",
            Error::ContentLength => "ContentLength",
            Error::ContentLengthConflict => "ContentLengthConflict",
            Error::FramingConflict => "FramingConflict",
            Error::ContentUnexpected => "ContentUnexpected",
            Error::ContentTypeConflict => "ContentTypeConflict",
            Error::TransferEncoding => "TransferEncoding",
            Error::TransferEncodingUnknown => "TransferEncodingUnknown",
            Error::Expectation => "Expectation",
            Error::ChunkSize => "ChunkSize",
            Error::ChunkExtension => "ChunkExtension",
            Error::ChunkExtensionsTooLarge => "ChunkExtensionsTooLarge",
            Error::ChunkEnd => "ChunkEnd",
            Error::TrailerField => "TrailerField",
            Error::BodyTooLarge => "BodyTooLarge",
            Error::LengthRequired => "LengthRequired",
            Error::HeadTimeout => "HeadTimeout",
            Error::BodyTimeout => "BodyTimeout",
            Error::RequestsTooMany => "RequestsTooMany",
            Error::ProxyHeader => "ProxyHeader",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for Error {}
