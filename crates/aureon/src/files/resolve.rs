//! From a URL path to a path below a root: the only place that decides it.
//!
//! Owns the percent-decoding of file paths and the list of what is refused. Pure: it touches no
//! file system, so it is also the body of a fuzz target. Its promise is that an accepted path,
//! joined to a root, names something below that root as far as names can tell; symbolic links
//! are the kernel's business ([`crate::sys`] opens beneath the root). RFC 3986 §2.1, §3.3.
//!
//! Decoding happens once: `%252e` is the name `%2e`, not a dot. Dot segments are refused and not
//! removed, because a client that sends one has either not normalised its URL or means harm.
//! Names special to Windows (devices, streams, trailing dots and spaces) are refused where the
//! file system is Windows'; elsewhere `Inc.`, `aux` and `12:30` are ordinary names that mirrors
//! of wikis really hold, and no device hides behind them.

use std::borrow::Cow;

use crate::limits;

/// A decoded path below a root: no leading slash, no empty, `.` or `..` segment, no backslash,
/// no control character. Empty or ending in `/` when it names a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelativePath<'a> {
    path: Cow<'a, str>,
    hidden: bool,
}

impl RelativePath<'_> {
    /// The path, for example `docs/a b.html`, `docs/` or the empty string for the root.
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// Whether the client asked for a directory: the root, or a path ending in `/`.
    pub fn is_directory(&self) -> bool {
        self.path.is_empty() || self.path.ends_with('/')
    }

    /// Whether a segment begins with a dot. `.well-known` as the first one does not count
    /// (RFC 8615).
    pub fn is_hidden(&self) -> bool {
        self.hidden
    }

    /// The last segment, without a closing slash.
    pub fn name(&self) -> &str {
        let path = self.path.strip_suffix('/').unwrap_or(&self.path);
        path.rsplit('/').next().unwrap_or(path)
    }
}

/// Why a path names nothing that could be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A `%` without two hexadecimal digits behind it.
    Escape,
    /// The decoded bytes are not UTF-8.
    Encoding,
    /// A decoded NUL.
    Nul,
    /// A control character other than NUL.
    Control,
    /// An encoded slash, or a backslash however it was written.
    Separator,
    /// Two slashes in a row, which also covers `//host` and a second leading slash.
    EmptySegment,
    /// A `.` or `..` segment, however it was written.
    DotSegment,
    /// Longer than a path or a name may be.
    TooLong,
    /// A name that means something else than a file on Windows.
    WindowsName,
}

impl Refusal {
    /// Whether the request itself is malformed (400), and not merely for something that does
    /// not exist (404).
    pub fn is_malformed(self) -> bool {
        matches!(self, Refusal::Escape | Refusal::Encoding | Refusal::Nul)
    }

    /// The refusal in words.
    pub fn reason(self) -> &'static str {
        match self {
            Refusal::Escape => "a % without two hexadecimal digits",
            Refusal::Encoding => "no UTF-8",
            Refusal::Nul => "a NUL",
            Refusal::Control => "a control character",
            Refusal::Separator => "an encoded slash, or a backslash",
            Refusal::EmptySegment => "two slashes in a row",
            Refusal::DotSegment => "a segment . or ..",
            Refusal::TooLong => "too long",
            Refusal::WindowsName => "a name that Windows takes for a device",
        }
    }
}

/// Resolves the part of a URL path below a mount point, still percent-encoded and with or
/// without its leading slash. Allocates only when something is encoded.
pub fn resolve(path: &str) -> Result<RelativePath<'_>, Refusal> {
    let path = decode(path.strip_prefix('/').unwrap_or(path))?;
    if path.len() > limits::FILE_PATH_BYTES_MAX {
        return Err(Refusal::TooLong);
    }
    let mut hidden = false;
    let mut rest = &*path;
    let mut first = true;
    while !rest.is_empty() {
        let (segment, more) = rest.split_once('/').unwrap_or((rest, ""));
        check(segment)?;
        hidden |= segment.starts_with('.') && !(first && segment == ".well-known");
        first = false;
        rest = more;
    }
    Ok(RelativePath { path, hidden })
}

/// Whether Windows would take the name for something else: a device (with any extension), an
/// alternate stream, a name it strips or cannot hold.
/// Microsoft, "Naming Files, Paths, and Namespaces".
pub fn is_windows_special(segment: &str) -> bool {
    if segment.ends_with(['.', ' ']) || segment.contains([':', '*', '?', '"', '<', '>', '|']) {
        return true;
    }
    let stem = segment
        .split('.')
        .next()
        .unwrap_or(segment)
        .trim_end_matches(' ');
    const DEVICES: [&str; 7] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"];
    if DEVICES
        .iter()
        .any(|device| stem.eq_ignore_ascii_case(device))
    {
        return true;
    }
    // COM1 to COM9 and LPT1 to LPT9; Windows also takes the superscript digits.
    let Some((port, digit)) = stem.char_indices().nth(3).map(|(at, _)| stem.split_at(at)) else {
        return false;
    };
    (port.eq_ignore_ascii_case("COM") || port.eq_ignore_ascii_case("LPT"))
        && matches!(
            digit,
            "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9"
        ) | matches!(digit, "¹" | "²" | "³")
}

fn check(segment: &str) -> Result<(), Refusal> {
    if segment.is_empty() {
        return Err(Refusal::EmptySegment);
    }
    if segment == "." || segment == ".." {
        return Err(Refusal::DotSegment);
    }
    if segment.len() > limits::FILE_NAME_BYTES_MAX {
        return Err(Refusal::TooLong);
    }
    for byte in segment.bytes() {
        match byte {
            0 => return Err(Refusal::Nul),
            b'\\' => return Err(Refusal::Separator),
            1..=0x1f | 0x7f => return Err(Refusal::Control),
            _ => {}
        }
    }
    if crate::sys::WINDOWS_NAMES && is_windows_special(segment) {
        return Err(Refusal::WindowsName);
    }
    Ok(())
}

fn decode(path: &str) -> Result<Cow<'_, str>, Refusal> {
    if !path.contains('%') {
        return Ok(Cow::Borrowed(path));
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digits = bytes.next().and_then(hex).zip(bytes.next().and_then(hex));
        let (high, low) = digits.ok_or(Refusal::Escape)?;
        let byte = high << 4 | low;
        // An encoded slash stays inside its segment (RFC 3986 §2.2), and no file name holds one.
        if byte == b'/' {
            return Err(Refusal::Separator);
        }
        decoded.push(byte);
    }
    String::from_utf8(decoded)
        .map(Cow::Owned)
        .map_err(|_| Refusal::Encoding)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use super::*;

    fn check(path: &str, expected: Result<&str, Refusal>) {
        let resolved = resolve(path);
        assert_eq!(
            resolved.as_ref().map(RelativePath::as_str).map_err(|r| *r),
            expected,
            "{path}"
        );
    }

    /// What the fuzz target asserts: whatever is accepted is made of ordinary names only.
    fn stays_below_the_root(path: &str) {
        let Ok(resolved) = resolve(path) else { return };
        let joined = Path::new("/root").join(resolved.as_str());
        let below = joined.strip_prefix("/root").expect("joined below the root");
        assert!(
            below
                .components()
                .all(|part| matches!(part, Component::Normal(_))),
            "{path:?}"
        );
        assert!(!resolved.as_str().contains(['\0', '\\']), "{path:?}");
        assert!(!resolved.as_str().contains("//"), "{path:?}");
    }

    #[test]
    fn accepts_ordinary_paths() {
        check("/", Ok(""));
        check("", Ok(""));
        check("/index.html", Ok("index.html"));
        check("docs/a", Ok("docs/a"));
        check("/docs/", Ok("docs/"));
        check("/a%20b/%C3%A4.txt", Ok("a b/ä.txt"));
        check("/%41", Ok("A"));
        let dots = match crate::sys::WINDOWS_NAMES {
            true => Err(Refusal::WindowsName),
            false => Ok("..."),
        };
        check("/...", dots);
        check("/a..b/..c", Ok("a..b/..c"));
    }

    #[test]
    fn borrows_when_nothing_is_encoded() {
        let resolved = resolve("/assets/app.js").expect("an ordinary path");
        assert!(matches!(resolved.path, Cow::Borrowed("assets/app.js")));
    }

    #[test]
    fn refuses_dot_segments_however_written() {
        for path in [
            "/..",
            "/../etc/passwd",
            "/a/../../b",
            "/%2e%2e/x",
            "/.%2E/x",
            "/a/.",
            "/./a",
        ] {
            check(path, Err(Refusal::DotSegment));
        }
    }

    #[test]
    fn decodes_once_so_a_double_encoded_dot_is_a_name() {
        check("/%252e%252e/passwd", Ok("%2e%2e/passwd"));
        check("/%25%32%65", Ok("%2e"));
    }

    #[test]
    fn refuses_separators_that_were_smuggled_in() {
        for path in [
            "/..%2fetc",
            "/a%2Fb",
            "/..\\..\\x",
            "/a%5cb",
            "/%5c%5chost/share",
        ] {
            check(path, Err(Refusal::Separator));
        }
    }

    #[test]
    fn refuses_absolute_and_empty_segments() {
        for path in ["//etc/passwd", "/a//b", "//", "///", "/a//"] {
            check(path, Err(Refusal::EmptySegment));
        }
    }

    #[test]
    fn refuses_what_is_not_text() {
        check("/a%00.html", Err(Refusal::Nul));
        check("/a%", Err(Refusal::Escape));
        check("/a%4", Err(Refusal::Escape));
        check("/a%g0", Err(Refusal::Escape));
        check("/%ff", Err(Refusal::Encoding));
        // The overlong slash of IIS 4 is not UTF-8.
        check("/..%c0%af..", Err(Refusal::Encoding));
        check("/a%0ab", Err(Refusal::Control));
        check("/a%7f", Err(Refusal::Control));
    }

    #[test]
    fn refuses_what_no_file_system_holds() {
        check(
            &"a".repeat(limits::FILE_NAME_BYTES_MAX + 1),
            Err(Refusal::TooLong),
        );
        check(
            &"a/".repeat(limits::FILE_PATH_BYTES_MAX),
            Err(Refusal::TooLong),
        );
    }

    #[test]
    fn knows_hidden_segments_and_the_one_exception() {
        let hidden = |path| resolve(path).expect("accepted").is_hidden();
        assert!(hidden("/.git/config"));
        assert!(hidden("/a/.env"));
        assert!(hidden("/%2egit"));
        assert!(hidden("/a/.well-known/x"));
        assert!(hidden("/.well-known/.secret"));
        assert!(hidden("/.well-known2"));
        assert!(!hidden("/.well-known/acme-challenge/token"));
        assert!(!hidden("/.well-known/"));
        assert!(!hidden("/a.b"));
    }

    #[test]
    fn knows_the_names_windows_takes_for_something_else() {
        for name in [
            "CON",
            "con",
            "Con.txt",
            "nul.tar.gz",
            "COM1",
            "lpt9.log",
            "COM¹",
            "aux .txt",
            "a:b",
            "file.txt::$DATA",
            "a.",
            "a ",
            "CONIN$",
            "what?",
            "a*",
            "a|b",
        ] {
            assert!(is_windows_special(name), "{name}");
        }
        for name in [
            "contact", "COM", "COM10", "com1x", "null", "a.con", "LPTX", "äöüx", "x",
        ] {
            assert!(!is_windows_special(name), "{name}");
        }
    }

    #[test]
    fn any_bytes_resolve_below_the_root_or_not_at_all() {
        const PIECES: [&str; 24] = [
            "..",
            ".",
            "/",
            "//",
            "\\",
            "%2e",
            "%2E",
            "%2f",
            "%5c",
            "%00",
            "%25",
            "%",
            "a",
            "b.html",
            "%c0%af",
            "%ff",
            "ä",
            " ",
            ":",
            "CON",
            "~",
            "\u{7f}",
            "%252e",
            ".well-known",
        ];
        let mut seed: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut next = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        for _ in 0..20_000 {
            let mut path = String::new();
            for _ in 0..next() % 12 {
                let pick = next();
                if pick % 5 == 0 {
                    path.extend(char::from_u32((next() % 0x250) as u32));
                } else {
                    path.push_str(PIECES[(pick / 5) as usize % PIECES.len()]);
                }
            }
            stays_below_the_root(&path);
        }
    }
}
