//! From a URL path to a file and its answer.
//!
//! In reading order: `resolve` turns a URL path into a path below a root; `mime` knows types and
//! how long they may be cached; `encoding` chooses among precompressed siblings; `conditional`
//! and `range` decide how much of a representation the client needs.

pub mod conditional;
pub mod encoding;
pub mod mime;
pub mod range;
pub mod resolve;
