//! What will be done on the host, step by step, with the way back of each.
//!
//! A step is a piece of POSIX shell over the functions of `journal/prelude.sh`, a sentence that
//! teaches why, and what changes. `aureon plan` shows the changes, `--script` prints the shell,
//! `aureon deploy` runs the very same shell: there is no second description of what a step does.
//! A step whose `current` and `desired` are the same is not in the plan, so that a second plan is
//! empty.

pub(crate) mod certificate;
pub mod configuration;
mod directories;
mod firewall;
mod nginx;
mod order;
mod packages;
pub(crate) mod release;
#[cfg(test)]
mod samples;
pub mod script;
pub mod shell;

pub use order::{paths, plan, rollback};
pub(crate) mod switch;
mod units;

/// All steps, in order.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The host, as the user calls it.
    pub host: String,
    /// The application.
    pub app: String,
    /// What the user should know before he agrees.
    pub warnings: Vec<String>,
    /// In the order in which they run.
    pub steps: Vec<Step>,
}

/// One change of the host.
#[derive(Debug, Clone)]
pub struct Step {
    /// Stable, for machines and the journal: `nginx/site`, `firewall/enable`.
    pub id: String,
    /// What it is: `Nginx site example.com`.
    pub title: String,
    /// Why it is there, in a sentence or two: a comment in the script.
    pub why: String,
    /// What is there now, as text; empty when nothing is.
    pub current: String,
    /// What will be.
    pub desired: String,
    /// POSIX shell over the prelude's functions; the prelude keeps what it replaces.
    pub apply: String,
    /// How it is taken back.
    pub undo: Undo,
    /// What else it needs of this machine.
    pub act: Act,
}

/// How a step is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undo {
    /// By what the prelude kept when it replaced it.
    Kept,
    /// By a piece of shell, written into the journal before the step runs.
    Shell(String),
    /// Not at all, and why; said in the plan.
    Not(String),
}

/// What a step needs beyond its shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    Host,
    /// The objects of the release that the host lacks travel as its standard input.
    Upload,
    /// The private key that the user brings travels as its standard input.
    Key,
    /// When it is done, `certificate/reach.rs` looks from this machine whether the names lead
    /// there.
    Reach,
    /// Runs through a connection of its own ([`crate::host::Host::run_anew`]).
    Anew,
}

/// Why a host is left as it is: what is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Stable, for machines: `certificate/redirect-loop`.
    pub id: String,
    /// What is wrong.
    pub cause: String,
    /// What to type or change.
    pub fix: String,
}
