//! What travels to the host and is served there.
//!
//! A release is a list of files, each by the SHA-256 of its content; the host keeps contents in
//! `/opt/aureon/objects` and a release is a directory of links to them, so that only what changed
//! travels and a release that is kept costs no second copy. `manifest` makes the list here,
//! `upload` sends what the host lacks, `release.sh`, a part of the journal's prelude, is what the
//! host does: put together, try, switch, go back, clear away; `receipt` is what was counted there
//! meanwhile.

pub mod manifest;
pub mod receipt;
pub mod upload;

pub use manifest::{Release, ReleaseError};
