//! What travels to the host and is served there.
//!
//! A release is a list of files, each by the SHA-256 of its content; the host keeps contents in
//! `/opt/aureon/objects` and a release is a directory of links to them, so that only what changed
//! travels and a release that is kept costs no second copy.
