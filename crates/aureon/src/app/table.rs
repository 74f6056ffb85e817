//! The route table: a trie of path segments, and one flat map of the paths without captures.
//!
//! A path without captures costs one lookup. Any other is walked segment by segment, one lookup
//! each; where a fixed segment leads nowhere the walk comes back and tries the capture, then the
//! wildcard, so that static beats capture beats wildcard from left to right, whatever the order
//! of registration. The cost hangs on the path's segments and not on the number of routes.
//!
//! The maps hash with a fixed multiplicative hash instead of std's keyed one: their keys are the
//! program's own routes, fixed when the table is built, so a client can only look up and never
//! choose what collides.

use super::captures::Spans;
use super::pattern::{Pattern, Segment};

/// A map from texts to numbers that is built once. Open addressing, at most half full.
#[derive(Debug, Default)]
struct Words {
    slots: Vec<Option<(Box<str>, u32)>>,
    len: usize,
}

/// A multiply-and-fold hash that reads eight bytes at a time, the last eight overlapping.
#[inline]
fn hash(text: &[u8]) -> u64 {
    // The odd constant of Fibonacci hashing, 2^64 divided by the golden ratio.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let fold = |value: u64, word: u64| (value.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    let mut value = text.len() as u64;
    if let Some(last) = text.last_chunk::<8>() {
        let mut rest = text;
        while let Some((word, after)) = rest.split_first_chunk::<8>() {
            value = fold(value, u64::from_le_bytes(*word));
            rest = after;
        }
        value = fold(value, u64::from_le_bytes(*last));
    } else if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        let both =
            u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last));
        value = fold(value, both);
    } else {
        for byte in text {
            value = fold(value, u64::from(*byte));
        }
    }
    // The product's high half is the well mixed one.
    value ^ (value >> 32)
}

impl Words {
    #[inline]
    fn get(&self, text: &[u8]) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut at = hash(text) as usize & mask;
        // Ends: half of the slots are empty.
        while let Some((word, value)) = self.slots.get(at)?.as_ref() {
            if word.as_bytes() == text {
                return Some(*value);
            }
            at = (at + 1) & mask;
        }
        None
    }

    fn insert(&mut self, text: Box<str>, value: u32) {
        if (self.len + 1) * 2 > self.slots.len() {
            let doubled = (self.slots.len() * 2).max(4);
            let mut empty = Vec::new();
            empty.resize_with(doubled, || None);
            for (word, value) in std::mem::replace(&mut self.slots, empty)
                .into_iter()
                .flatten()
            {
                self.place(word, value);
            }
        }
        self.place(text, value);
        self.len += 1;
    }

    fn place(&mut self, text: Box<str>, value: u32) {
        let mask = self.slots.len() - 1;
        let mut at = hash(text.as_bytes()) as usize & mask;
        while self.slots[at].is_some() {
            at = (at + 1) & mask;
        }
        self.slots[at] = Some((text, value));
    }
}

#[derive(Debug, Default)]
struct Node {
    words: Words,
    capture: Option<u32>,
    /// The entry of `{*name}` below this node.
    wildcard: Option<u32>,
    /// The entry of the path that ends here.
    entry: Option<u32>,
}

/// Maps paths to entries, which the caller numbers.
#[derive(Debug)]
pub(super) struct Table {
    nodes: Vec<Node>,
    statics: Words,
}

impl Table {
    pub(super) fn new() -> Table {
        Table {
            nodes: vec![Node::default()],
            statics: Words::default(),
        }
    }

    /// The entry of a pattern: the one it shares with an equal pattern, else `fresh`. Captures'
    /// names do not make patterns differ.
    pub(super) fn insert(&mut self, pattern: &Pattern, fresh: u32) -> u32 {
        let mut node = 0;
        for segment in &pattern.segments {
            node = match segment {
                Segment::Wildcard => return *self.nodes[node].wildcard.get_or_insert(fresh),
                Segment::Capture => match self.nodes[node].capture {
                    Some(child) => child as usize,
                    None => {
                        let child = self.grow();
                        self.nodes[node].capture = Some(child);
                        child as usize
                    }
                },
                Segment::Static(text) => match self.nodes[node].words.get(text.as_bytes()) {
                    Some(child) => child as usize,
                    None => {
                        let child = self.grow();
                        self.nodes[node]
                            .words
                            .insert(Box::from(text.as_str()), child);
                        child as usize
                    }
                },
            };
        }
        if let Some(entry) = self.nodes[node].entry {
            return entry;
        }
        self.nodes[node].entry = Some(fresh);
        if let Some(path) = pattern.static_path() {
            self.statics.insert(Box::from(path), fresh);
        }
        fresh
    }

    fn grow(&mut self) -> u32 {
        self.nodes.push(Node::default());
        (self.nodes.len() - 1) as u32
    }

    /// The entry of a path without captures, in one lookup. Such an entry beats all others.
    #[inline]
    pub(super) fn find_static(&self, path: &[u8]) -> Option<u32> {
        self.statics.get(path)
    }

    /// The entry of a path, and where in it the captures are.
    pub(super) fn find(&self, path: &[u8], spans: &mut Spans) -> Option<u32> {
        // Spans are 16 bits wide, as a head's are.
        if path.first() != Some(&b'/') || path.len() > usize::from(u16::MAX) {
            return None;
        }
        self.walk(0, path, 1, spans)
    }

    /// Matches the segment at `start` and all after it. Recursion ends with the deepest pattern.
    fn walk(&self, node: usize, path: &[u8], start: usize, spans: &mut Spans) -> Option<u32> {
        let node = self.nodes.get(node)?;
        let rest = path.get(start..)?;
        let end = rest
            .iter()
            .position(|byte| *byte == b'/')
            .map_or(path.len(), |at| start + at);
        let segment = path.get(start..end)?;
        if let Some(child) = node.words.get(segment)
            && let Some(entry) = self.down(child, path, end, spans)
        {
            return Some(entry);
        }
        if let Some(child) = node.capture
            && !segment.is_empty()
        {
            spans.push(start, end);
            if let Some(entry) = self.down(child, path, end, spans) {
                return Some(entry);
            }
            spans.pop();
        }
        if node.wildcard.is_some() {
            spans.push(start, path.len());
        }
        node.wildcard
    }

    fn down(&self, child: u32, path: &[u8], end: usize, spans: &mut Spans) -> Option<u32> {
        if end == path.len() {
            self.nodes.get(child as usize)?.entry
        } else {
            self.walk(child as usize, path, end + 1, spans)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(patterns: &[&str], path: &str, found: Option<(usize, &[&str])>) {
        let mut orders = vec![(0..patterns.len()).collect::<Vec<_>>()];
        orders.push((0..patterns.len()).rev().collect());
        for order in orders {
            let mut table = Table::new();
            for index in &order {
                let pattern = Pattern::parse(patterns[*index]).unwrap();
                assert_eq!(table.insert(&pattern, *index as u32), *index as u32);
            }
            let mut spans = Spans::default();
            let entry = table
                .find(path.as_bytes(), &mut spans)
                .map(|entry| entry as usize);
            let captured: Vec<&str> = spans.iter().map(|(a, b)| &path[a..b]).collect();
            assert_eq!(
                entry.map(|entry| (entry, &captured[..])),
                found,
                "{path} {order:?}"
            );
            if let Some(entry) = table.find_static(path.as_bytes()) {
                assert_eq!(found, Some((entry as usize, &[][..])));
            }
        }
    }

    #[test]
    fn static_beats_capture_beats_wildcard() {
        let patterns = ["/a/b", "/a/{x}", "/a/{*x}", "/{*x}"];
        check(&patterns, "/a/b", Some((0, &[])));
        check(&patterns, "/a/c", Some((1, &["c"])));
        check(&patterns, "/a/b/c", Some((2, &["b/c"])));
        check(&patterns, "/a", Some((3, &["a"])));
        check(&patterns, "/", Some((3, &[""])));
    }

    #[test]
    fn a_fixed_segment_that_leads_nowhere_is_left_again() {
        let patterns = ["/a/b/c", "/{x}/b/d", "/{x}/{y}/{z}/e"];
        check(&patterns, "/a/b/d", Some((1, &["a"])));
        check(&patterns, "/a/b/c/e", Some((2, &["a", "b", "c"])));
        check(&patterns, "/a/b/x", None);
    }

    #[test]
    fn empty_segments_match_only_a_wildcard_or_a_last_slash() {
        check(&["/a/{x}"], "/a/", None);
        check(&["/a/"], "/a/", Some((0, &[])));
        check(&["/a/"], "/a", None);
        check(&["/{x}/b"], "//b", None);
        check(&["/a/{*x}"], "/a//b", Some((0, &["/b"])));
        check(&["/a/{*x}"], "/a/", Some((0, &[""])));
        check(&["/a/{*x}"], "/a", None);
    }

    #[test]
    fn equal_shapes_share_an_entry() {
        let mut table = Table::new();
        assert_eq!(table.insert(&Pattern::parse("/u/{a}").unwrap(), 0), 0);
        assert_eq!(table.insert(&Pattern::parse("/u/{b}").unwrap(), 1), 0);
        assert_eq!(table.insert(&Pattern::parse("/u/{*b}").unwrap(), 2), 2);
    }

    #[test]
    fn words_are_found_among_many() {
        let mut words = Words::default();
        for number in 0..5_000u32 {
            words.insert(format!("/route/number/{number}").into(), number);
        }
        for number in 0..5_000u32 {
            assert_eq!(
                words.get(format!("/route/number/{number}").as_bytes()),
                Some(number)
            );
        }
        assert_eq!(words.get(b"/route/number/5000"), None);
        assert_eq!(words.get(b""), None);
    }

    #[test]
    fn a_path_too_long_for_a_span_is_not_found() {
        let mut table = Table::new();
        table.insert(&Pattern::parse("/{*x}").unwrap(), 0);
        let path = format!("/{}", "a".repeat(usize::from(u16::MAX)));
        assert_eq!(table.find(path.as_bytes(), &mut Spans::default()), None);
        assert_eq!(table.find(b"*", &mut Spans::default()), None);
        assert_eq!(table.find(b"", &mut Spans::default()), None);
    }
}
