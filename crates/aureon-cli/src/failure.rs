//! Why a command did not do what was asked: what is wrong, and what to type.
//!
//! The exit codes are here and nowhere else. After [`Failure::Usage`], [`Failure::Configuration`]
//! and [`Failure::Refused`] nothing has been changed anywhere.

use std::fmt;

use aureon_service::problem::{Place, Problem};
use serde_json::json;

use crate::facts::FactsError;
use crate::host::HostError;
use crate::journal::JournalError;
use crate::plan::Refusal;

/// Why.
#[derive(Debug)]
pub enum Failure {
    /// The command line makes no sense: 2.
    Usage(Vec<Problem>),
    /// `aureon.toml` is wrong: 78, EX_CONFIG of sysexits.h.
    Configuration(Vec<Problem>),
    /// It would not work, and the host is left as it is: 69, EX_UNAVAILABLE.
    Refused(Vec<Refusal>),
    /// A command on the host ended with this, and has said why.
    Code(u8),
    /// It was tried, and failed: 1.
    Failed {
        /// What is wrong.
        what: String,
        /// What to do; may be empty.
        fix: String,
    },
}

impl Failure {
    /// Something that failed.
    pub fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Failed {
            what: what.into(),
            fix: fix.into(),
        }
    }

    /// A refusal for one reason.
    pub fn refuse(id: &str, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Refused(vec![Refusal {
            id: id.to_owned(),
            cause: cause.into(),
            fix: fix.into(),
        }])
    }

    /// A mistake on the command line.
    pub fn usage(word: &str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        let place = Place::Flag(word.to_owned());
        Self::Usage(vec![Problem::new(place, what, fix)])
    }

    /// What the process ends with.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Code(code) => *code,
            Self::Failed { .. } => 1,
            Self::Usage(_) => 2,
            Self::Refused(_) => 69,
            Self::Configuration(_) => 78,
        }
    }

    /// As objects, for machines.
    #[must_use]
    pub fn events(&self) -> Vec<serde_json::Value> {
        let event = |id: &str, what: &str, fix: &str| event(self.code(), id, what, fix);
        match self {
            Self::Usage(problems) | Self::Configuration(problems) => {
                let shown = |problem: &Problem| {
                    let mut event = event("", &problem.what, &problem.fix);
                    event["place"] = json!(problem.place.to_string());
                    event
                };
                problems.iter().map(shown).collect()
            }
            Self::Refused(refusals) => {
                let shown = |one: &Refusal| event(&one.id, &one.cause, &one.fix);
                refusals.iter().map(shown).collect()
            }
            Self::Failed { what, fix } => vec![event("", what, fix)],
            Self::Code(_) => vec![event("", "the command failed", "")],
        }
    }
}

fn event(code: u8, id: &str, what: &str, fix: &str) -> serde_json::Value {
    json!({"event": "error", "code": code, "id": id, "what": what, "fix": fix})
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        match self {
            Self::Usage(problems) | Self::Configuration(problems) => {
                for problem in problems {
                    // `file:line:column:` is what editors follow.
                    let ours = !matches!(problem.place, Place::File { .. });
                    lines.push([if ours { "aureon: " } else { "" }, &problem.to_string()].concat());
                }
            }
            Self::Refused(refusals) => {
                for one in refusals {
                    lines.push(format!("aureon: {} ({})", one.cause, one.id));
                    if !one.fix.is_empty() {
                        lines.push(format!("  to do: {}", one.fix));
                    }
                }
                lines.push("aureon: nothing has been changed".to_owned());
            }
            Self::Code(code) => lines.push(format!("aureon: the command ended with {code}")),
            Self::Failed { what, fix } => {
                lines.push(format!("aureon: {what}"));
                if !fix.is_empty() {
                    lines.push(format!("  to do: {fix}"));
                }
            }
        }
        f.write_str(&lines.join("\n"))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(vec![refusal])
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        Self::new(error.to_string(), "")
    }
}

impl From<FactsError> for Failure {
    fn from(error: FactsError) -> Self {
        Self::new(error.to_string(), "")
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        let fix = match error {
            JournalError::Locked(_) => {
                "run it again when that is done, or take the lock by --break-lock"
            }
            _ => "",
        };
        Self::new(error.to_string(), fix)
    }
}
