//! What the fields that the session lives by must look like (RFC 9110 §5–§8, RFC 9112 §3.2, §6).
//!
//! The parser finds a field and asks here whether its value may stand. Everything here is a
//! function of bytes; nothing is remembered. Other fields stay text until a handler asks.

use super::{Error, scan};

/// Leaves out the optional white space around a value (RFC 9110 §5.5); says how much led.
#[inline(always)]
pub(super) fn trimmed(raw: &[u8]) -> (usize, &[u8]) {
    // One space leads in nearly every line and nothing trails.
    match raw {
        [b' ', value @ ..] if !white_around(value) => (1, value),
        _ => trimmed_by_bytes(raw),
    }
}

fn white_around(value: &[u8]) -> bool {
    matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t'])
}

#[cold]
fn trimmed_by_bytes(mut value: &[u8]) -> (usize, &[u8]) {
    let mut led = 0;
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
        led += 1;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    (led, value)
}

/// `uri-host [ ":" port ]` (RFC 9110 §7.2). Stricter than the document, which has a use for an
/// empty Host that no HTTP client on a socket has.
#[inline(always)]
pub(super) fn check_host(value: &[u8]) -> Result<(), Error> {
    // Nearly every Host is a plain name, with a port or without: one scan settles it.
    let name_len = scan::name_len(value);
    match &value[name_len..] {
        [] if name_len > 0 => Ok(()),
        // Four digits are below 65536, whatever they are.
        [b':', port @ ..] if name_len > 0 && port.len() <= 4 && all_digits(port) => Ok(()),
        _ => check_rare_host(value),
    }
}

fn all_digits(bytes: &[u8]) -> bool {
    scan::digits_len(bytes) == bytes.len()
}

/// A Host with a long port, an IP literal, or characters that few names have.
#[cold]
fn check_rare_host(value: &[u8]) -> Result<(), Error> {
    if value.is_empty() || scan::host_len(value) != value.len() {
        return Err(Error::Host);
    }
    let (name, port) = match value.iter().rposition(|byte| *byte == b']') {
        Some(end) if value[0] == b'[' => {
            let inside = &value[1..end];
            let address = inside
                .iter()
                .all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
            if !address || !inside.contains(&b':') {
                return Err(Error::Host);
            }
            (&value[..=end], &value[end + 1..])
        }
        Some(_) => return Err(Error::Host),
        None => {
            let colon = value
                .iter()
                .position(|byte| *byte == b':')
                .unwrap_or(value.len());
            (&value[..colon], &value[colon..])
        }
    };
    let digits = port.strip_prefix(b":").unwrap_or(port);
    let port_is_plain = port.first().is_none_or(|byte| *byte == b':');
    if name.is_empty()
        || (name[0] != b'[' && name.contains(&b'['))
        || !port_is_plain
        || digits.len() > 5
        || (digits.len() == 5 && digits > b"65535")
        || !all_digits(digits)
    {
        return Err(Error::Host);
    }
    Ok(())
}

/// RFC 9110 §6.5.1: a trailer may not bring framing, routing, authentication or content format.
pub(super) fn check_trailer(name: &[u8]) -> Result<(), Error> {
    const REFUSED: [&str; 14] = [
        "authorization",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "cookie",
        "expect",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    match REFUSED
        .iter()
        .any(|refused| name.eq_ignore_ascii_case(refused.as_bytes()))
    {
        true => Err(Error::TrailerField),
        false => Ok(()),
    }
}

/// The value of a field that frames the message: after one space or none, and nothing after it.
///
/// Stricter than RFC 9110 §5.5, which has any white space around a value not belong to it: where
/// one byte more or less decides what is a request, only what everybody writes is read.
pub(super) fn framing_value(raw: &[u8]) -> &[u8] {
    raw.strip_prefix(b" ").unwrap_or(raw)
}

/// Whether a name is a framing field's with `_` for `-`: a gateway that speaks CGI (RFC 3875
/// §4.1.18) takes the two for one, so it is only ever sent to be misread.
pub(super) fn looks_like_framing(name: &[u8]) -> bool {
    [&b"content_length"[..], b"transfer_encoding"]
        .iter()
        .any(|look_alike| name.eq_ignore_ascii_case(look_alike))
}
