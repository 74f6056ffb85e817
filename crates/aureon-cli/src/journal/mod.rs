//! The part on the host that keeps each replaced byte, in shell.
//!
//! `prelude.sh` is put before every step's script. A run has a directory of its own,
//! `/var/lib/aureon-operator/journal/<run>`, written before what it describes happens: a step that was begun
//! and not done is finished or taken back by the next run.

/// The functions that every step's script begins with.
pub const PRELUDE: &str = include_str!("prelude.sh");
