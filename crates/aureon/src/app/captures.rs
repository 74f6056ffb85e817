//! Where a request goes: the route that was found and what its captures took.
//!
//! A [`Match`] owns no text. Captures are spans of the request's raw path; only a path with an
//! escape in it has a decoded copy. So finding a route allocates nothing in the usual case, and
//! a match can be kept while the connection's bytes move.

use std::sync::Arc;

use super::percent::{PathInvalid, decode_path};
use super::table::Table;
use crate::limits::CAPTURES_MAX;

/// Stretches of a path, from left to right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans {
    at: [(u16, u16); CAPTURES_MAX],
    len: u8,
}

impl Spans {
    /// Adds a stretch. Patterns have at most `CAPTURES_MAX` captures and paths at most
    /// `u16::MAX` bytes; both are checked before this is called.
    #[inline]
    pub(super) fn push(&mut self, start: usize, end: usize) {
        if let Some(slot) = self.at.get_mut(usize::from(self.len)) {
            *slot = (start as u16, end as u16);
            self.len += 1;
        }
    }

    #[inline]
    pub(super) fn pop(&mut self) {
        self.len = self.len.saturating_sub(1);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, usize)> {
        let taken = self.at.iter().take(usize::from(self.len));
        taken.map(|(start, end)| (usize::from(*start), usize::from(*end)))
    }

    /// The text of one stretch. Text was checked whole, and stretches begin and end at slashes,
    /// so the short check here cannot fail.
    fn slice<'t>(&self, text: &'t [u8], index: usize) -> Option<&'t str> {
        let taken = self.at.get(..usize::from(self.len))?;
        let (start, end) = *taken.get(index)?;
        std::str::from_utf8(text.get(usize::from(start)..usize::from(end))?).ok()
    }
}

/// The route of a request, found by [`App::find`](super::App::find).
#[derive(Clone, Debug)]
pub struct Match {
    pub(super) endpoint: u32,
    /// Spans of the raw path.
    raw: Spans,
    /// Only when the path has an escape.
    decoded: Option<Box<Decoded>>,
}

#[derive(Clone, Debug)]
struct Decoded {
    text: String,
    spans: Spans,
}

/// What an endpoint knows of its route; shared, because late answers outlive the match.
#[derive(Debug)]
pub(super) struct RouteInfo {
    /// The pattern as registered, prefixes included; empty when no route matched.
    pub(super) template: Box<str>,
    /// The captures' names, in the order of the spans.
    pub(super) names: Vec<Box<str>>,
}

impl RouteInfo {
    fn index(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| &**known == name)
    }
}

impl Match {
    #[inline]
    pub(super) fn without_captures(endpoint: u32) -> Match {
        Match {
            endpoint,
            raw: Spans::default(),
            decoded: None,
        }
    }

    /// The table's entry for a path, and a match whose endpoint the caller fills in.
    pub(super) fn find(table: &Table, path: &str) -> Result<Option<(u32, Match)>, PathInvalid> {
        let mut found = Match::without_captures(0);
        if !path.as_bytes().contains(&b'%') {
            let entry = table.find(path.as_bytes(), &mut found.raw);
            return Ok(entry.map(|entry| (entry, found)));
        }
        // NUL stands for an escaped slash until the segments are told apart: it cannot occur
        // otherwise, because a path with a NUL is refused.
        let text = decode_path(path, 0)?;
        let mut spans = Spans::default();
        let Some(entry) = table.find(text.as_bytes(), &mut spans) else {
            return Ok(None);
        };
        for (start, end) in spans.iter() {
            let (start, end) = raw_span(path, &text, start, end);
            found.raw.push(start, end);
        }
        let text = text.replace('\0', "/");
        found.decoded = Some(Box::new(Decoded { text, spans }));
        Ok(Some((entry, found)))
    }

    /// A capture, decoded. `path` is the raw path that was matched.
    pub(super) fn param<'t>(
        &'t self,
        path: &'t [u8],
        info: &RouteInfo,
        name: &str,
    ) -> Option<&'t str> {
        let index = info.index(name)?;
        match &self.decoded {
            Some(decoded) => decoded.spans.slice(decoded.text.as_bytes(), index),
            None => self.raw.slice(path, index),
        }
    }

    /// A capture as it was sent.
    pub(super) fn param_raw<'t>(
        &self,
        path: &'t [u8],
        info: &RouteInfo,
        name: &str,
    ) -> Option<&'t str> {
        self.raw.slice(path, info.index(name)?)
    }

    /// What the last capture took, as it was sent: the path below a mount.
    pub(super) fn rest_raw<'t>(&self, path: &'t [u8]) -> &'t str {
        let last = usize::from(self.raw.len).checked_sub(1);
        last.and_then(|last| self.raw.slice(path, last))
            .unwrap_or_default()
    }
}

/// The stretch of the raw path that was decoded to `start..end`. Both begin after the same
/// number of separators.
fn raw_span(path: &str, text: &str, start: usize, end: usize) -> (usize, usize) {
    let slashes = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'/').count();
    let bytes = text.as_bytes();
    let before = slashes(&bytes[..start]);
    let within = slashes(&bytes[start..end]);
    let mut at = path
        .bytes()
        .enumerate()
        .filter(|(_, byte)| *byte == b'/')
        .map(|(at, _)| at);
    let raw_start = at
        .nth(before.saturating_sub(1))
        .map_or(path.len(), |at| at + 1);
    (raw_start, at.nth(within).unwrap_or(path.len()))
}

/// Values that every handler can reach, by type.
#[derive(Clone, Default)]
pub(super) struct States {
    values: Vec<(std::any::TypeId, Arc<dyn std::any::Any + Send + Sync>)>,
}

impl States {
    /// Puts a value in the place of one of the same type.
    pub(super) fn set<T: Send + Sync + 'static>(&mut self, value: T) {
        let id = std::any::TypeId::of::<T>();
        self.values.retain(|(known, _)| *known != id);
        self.values.push((id, Arc::new(value)));
    }

    pub(super) fn find<T: Send + Sync + 'static>(&self) -> Option<&T> {
        let id = std::any::TypeId::of::<T>();
        let (_, value) = self.values.iter().find(|(known, _)| *known == id)?;
        value.downcast_ref()
    }

    /// Takes what `other` has and this does not.
    pub(super) fn merge(&mut self, other: States) {
        for (id, value) in other.values {
            if !self.values.iter().any(|(known, _)| *known == id) {
                self.values.push((id, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::pattern::Pattern;

    fn check(pattern: &str, path: &str, captures: &[(&str, &str)]) {
        let mut table = Table::new();
        let pattern = Pattern::parse(pattern).unwrap();
        table.insert(&pattern, 0);
        let info = RouteInfo {
            template: Box::from(""),
            names: pattern.names,
        };
        let (_, found) = Match::find(&table, path).unwrap().expect(path);
        for (name, (decoded, raw)) in info.names.iter().zip(captures) {
            assert_eq!(
                found.param(path.as_bytes(), &info, name),
                Some(*decoded),
                "{path}"
            );
            assert_eq!(
                found.param_raw(path.as_bytes(), &info, name),
                Some(*raw),
                "{path}"
            );
        }
        assert_eq!(
            found.rest_raw(path.as_bytes()),
            captures.last().map_or("", |(_, raw)| raw)
        );
    }

    #[test]
    fn captures_are_decoded_once_and_kept_raw() {
        check("/u/{id}", "/u/42", &[("42", "42")]);
        check("/u/{id}", "/u/a%20b", &[("a b", "a%20b")]);
        check("/u/{id}", "/u/%2541", &[("%41", "%2541")]);
        check(
            "/{a}/x/{b}",
            "/%C3%BC/%78/b%62",
            &[("ü", "%C3%BC"), ("bb", "b%62")],
        );
        check(
            "/f/{*rest}",
            "/f/a%2Fb/c%20d",
            &[("a/b/c d", "a%2Fb/c%20d")],
        );
        check("/f/{*rest}", "/%66/", &[("", "")]);
        check("/café", "/caf%C3%A9", &[]);
    }

    #[test]
    fn an_escaped_slash_stays_inside_its_segment() {
        check("/{a}/{b}", "/x%2Fy/z", &[("x/y", "x%2Fy"), ("z", "z")]);
        let mut table = Table::new();
        table.insert(&Pattern::parse("/a/b").unwrap(), 0);
        assert!(Match::find(&table, "/a%2Fb").unwrap().is_none());
    }

    #[test]
    fn a_path_with_a_bad_escape_is_an_error_even_where_no_route_is() {
        for path in ["/%", "/%zz", "/%00", "/%ff"] {
            assert!(Match::find(&Table::new(), path).is_err(), "{path}");
        }
    }

    #[test]
    fn states_are_found_by_type() {
        let mut outer = States::default();
        outer.set(1u32);
        outer.set(2u32);
        let mut inner = States::default();
        inner.set(3u32);
        inner.set("text");
        outer.merge(inner);
        assert_eq!(outer.find::<u32>(), Some(&2));
        assert_eq!(outer.find::<&str>(), Some(&"text"));
        assert_eq!(outer.find::<u64>(), None);
    }
}
