//! Route patterns: `/users/{id}/files/{*rest}`.
//!
//! A segment is fixed text, `{name}` for one whole non-empty segment, or `{*name}` for
//! everything that is left, which must come last and may be empty. Text is written decoded
//! (`/café`, not `/caf%C3%A9`). Anything that could not match, or not as it looks, is refused
//! when the router is built.

use crate::limits::{CAPTURES_MAX, ROUTE_SEGMENTS_MAX};

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// Fixed text; the empty text after a last slash.
    Static(String),
    /// `{name}`.
    Capture,
    /// `{*name}`.
    Wildcard,
}

/// A pattern that can match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    pub(super) segments: Vec<Segment>,
    /// The captures' names, from left to right.
    pub(super) names: Vec<Box<str>>,
}

impl Pattern {
    /// Reads a pattern; the error says in words what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Pattern, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(String::from("a path begins with '/'"));
        };
        let mut pattern = Pattern {
            segments: Vec::new(),
            names: Vec::new(),
        };
        let texts: Vec<&str> = rest.split('/').collect();
        if texts.len() > ROUTE_SEGMENTS_MAX {
            return Err(format!("a path has at most {ROUTE_SEGMENTS_MAX} segments"));
        }
        for (index, text) in texts.iter().enumerate() {
            let last = index + 1 == texts.len();
            let segment = pattern.segment(text, last)?;
            pattern.segments.push(segment);
        }
        if pattern.names.len() > CAPTURES_MAX {
            return Err(format!("a path has at most {CAPTURES_MAX} captures"));
        }
        Ok(pattern)
    }

    fn segment(&mut self, text: &str, last: bool) -> Result<Segment, String> {
        if let Some(inner) = text
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'))
        {
            return match inner.strip_prefix('*') {
                Some(_) if !last => Err(format!("{text} takes all that is left, so it comes last")),
                Some(name) => self.name(name).map(|()| Segment::Wildcard),
                None => self.name(inner).map(|()| Segment::Capture),
            };
        }
        if text.is_empty() && !last {
            return Err(String::from("an empty segment, '//', never matches"));
        }
        if text == "." || text == ".." {
            return Err(format!(
                "clients resolve the segment '{text}' before they ask"
            ));
        }
        match text
            .chars()
            .find(|c| c.is_control() || matches!(c, '{' | '}' | '%' | '?' | '#'))
        {
            None => Ok(Segment::Static(String::from(text))),
            Some('{' | '}') => Err(format!("in '{text}': a capture is a whole segment")),
            Some('%') => Err(format!("in '{text}': text is written decoded, without '%'")),
            Some(other) => Err(format!("in '{text}': {other:?} cannot stand in a path")),
        }
    }

    fn name(&mut self, name: &str) -> Result<(), String> {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(format!(
                "'{name}' is no name for a capture; use letters, digits and _"
            ));
        }
        if self.names.iter().any(|taken| &**taken == name) {
            return Err(format!("two captures are named '{name}'"));
        }
        self.names.push(Box::from(name));
        Ok(())
    }

    /// The path itself when nothing in it is captured.
    pub(super) fn static_path(&self) -> Option<String> {
        let mut path = String::new();
        for segment in &self.segments {
            let Segment::Static(text) = segment else {
                return None;
            };
            path.push('/');
            path.push_str(text);
        }
        Some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_read_segment_by_segment() {
        let pattern = Pattern::parse("/users/{id}/{*rest}").unwrap();
        let text = Segment::Static(String::from("users"));
        assert_eq!(
            pattern.segments,
            [text, Segment::Capture, Segment::Wildcard]
        );
        assert_eq!(pattern.names, [Box::from("id"), Box::from("rest")]);
        assert_eq!(pattern.static_path(), None);
        assert_eq!(
            Pattern::parse("/").unwrap().static_path().as_deref(),
            Some("/")
        );
        assert_eq!(
            Pattern::parse("/café/").unwrap().static_path().as_deref(),
            Some("/café/")
        );
    }

    #[test]
    fn a_pattern_that_could_not_match_is_refused_in_words() {
        fn check(text: &str, word: &str) {
            let error = Pattern::parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        check("", "begins with");
        check("users", "begins with");
        check("/a//b", "empty segment");
        check("/{*rest}/a", "comes last");
        check("/{a}/{a}", "two captures");
        check("/{}", "no name");
        check("/{a-b}", "no name");
        check("/x{a}", "whole segment");
        check("/{a}.json", "whole segment");
        check("/a%20b", "decoded");
        check("/a?b", "'?'");
        check("/a\nb", "cannot stand");
        check("/../a", "resolve");
        check(&"/{a}".repeat(ROUTE_SEGMENTS_MAX + 1), "segments");
        let many: String = (0..=CAPTURES_MAX).map(|n| format!("/{{c{n}}}")).collect();
        check(&many, "captures");
    }
}
