//! The router's fuzz body: any routes and any path, against a matcher that is slow and plain.
//!
//! The plain one compares every pattern with the path, segment by segment, and takes the one
//! that is fixed where the others capture, from left to right. The real one must find the same
//! route, whatever the order in which the routes were given.

use crate::app::Router;
use crate::http::Method;

/// How a segment was matched; a smaller one beats a larger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    Fixed,
    Captured,
    Rest,
}

/// Any text as routes, one a line, and in the last line a path.
pub fn router(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut lines: Vec<&str> = text.split('\n').take(16).collect();
    let path = lines.pop().unwrap_or_default();
    // The parser lets nothing else through.
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return;
    }
    let Some(found) = found_by_router(&lines, path) else {
        return;
    };
    lines.reverse();
    assert_eq!(
        found_by_router(&lines, path).as_deref(),
        Some(&*found),
        "in reverse"
    );
    assert_eq!(
        found,
        found_plainly(&lines, path),
        "{path:?} among {lines:?}"
    );
}

/// The template that the router finds, empty for none; `None` when it refuses the routes.
fn found_by_router(patterns: &[&str], path: &str) -> Option<String> {
    let mut router = Router::new();
    for pattern in patterns {
        router.get(pattern, |_| ());
    }
    let app = router
        .build()
        .inspect_err(|errors| assert!(!errors.is_empty(), "refused without a reason"))
        .ok()?;
    let found = app.find_path(Method::Get, path);
    Some(app.route_template(&found).to_owned())
}

fn found_plainly(patterns: &[&str], path: &str) -> String {
    let Some(segments) = decoded_segments(path) else {
        return String::new();
    };
    let matching = patterns
        .iter()
        .filter_map(|pattern| Some((ranks(pattern, &segments)?, pattern)));
    matching
        .min()
        .map(|(_, pattern)| (*pattern).to_owned())
        .unwrap_or_default()
}

/// The path's segments, decoded; `None` for a path that is none.
fn decoded_segments(path: &str) -> Option<Vec<String>> {
    // Control characters are refused however they are written.
    let segments: Option<Vec<String>> = path.strip_prefix('/')?.split('/').map(decoded).collect();
    segments.filter(|segments| {
        segments
            .iter()
            .all(|segment| !segment.contains(|c: char| c.is_ascii_control()))
    })
}

fn decoded(segment: &str) -> Option<String> {
    let mut parts = segment.as_bytes().split(|byte| *byte == b'%');
    let mut bytes = parts.next()?.to_vec();
    for part in parts {
        let digits = std::str::from_utf8(part.get(..2)?).ok()?;
        // `from_str_radix` would take a sign.
        let hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        bytes.push(
            u8::from_str_radix(digits, 16)
                .ok()
                .filter(|_| hexadecimal)?,
        );
        bytes.extend_from_slice(&part[2..]);
    }
    String::from_utf8(bytes).ok()
}

/// How the pattern matches, segment by segment; `None` when it does not.
fn ranks(pattern: &str, segments: &[String]) -> Option<Vec<How>> {
    let mut ranks = Vec::new();
    let mut segments = segments.iter();
    for part in pattern.strip_prefix('/')?.split('/') {
        if part.starts_with("{*") {
            segments.next()?;
            ranks.push(How::Rest);
            return Some(ranks);
        }
        let segment = segments.next()?;
        if part.starts_with('{') {
            ranks.push(How::Captured);
            if segment.is_empty() {
                return None;
            }
        } else if part == segment {
            ranks.push(How::Fixed);
        } else {
            return None;
        }
    }
    segments.next().is_none().then_some(ranks)
}
