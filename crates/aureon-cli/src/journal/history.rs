//! What a host's journal says, read back: which runs there were, what became of their steps, and
//! what would be taken back.
//!
//! The host tells it in lines of values between tabs (`tell_journal` of the prelude). A line that
//! is not understood is passed over: a younger operator may have written it.

use serde::Serialize;
use std::fmt::Write as _;

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct History {
    /// Somebody has the lock.
    pub lock: Option<Lock>,
    /// The oldest first.
    pub runs: Vec<PastRun>,
}

/// Who is changing the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lock {
    /// `alice@laptop`.
    pub holder: String,
    /// Seconds since 1970.
    pub since_s: u64,
    /// When it was last heard of.
    pub heard_s: u64,
    /// A step is running at this moment.
    pub running: bool,
}

/// A run that has not been undone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PastRun {
    /// `10003-blog-20261125T125906Z`.
    pub name: String,
    /// Who began it.
    pub who: String,
    /// When, in seconds since 1970.
    pub when_s: u64,
    /// For which application.
    pub app: String,
    /// What it was to do.
    pub what: String,
    /// It came to its end.
    pub finished: bool,
    /// It was being undone, and that was cut off.
    pub undoing: bool,
    /// Its steps in the order in which they were begun.
    pub steps: Vec<PastStep>,
    /// What would be taken back: the youngest change first.
    pub back: Vec<WayBack>,
}

/// A step that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PastStep {
    /// `nginx/site`.
    pub id: String,
    /// When it was begun, in seconds since 1970.
    pub begun_s: u64,
    /// What became of it.
    pub state: State,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is running, or was cut off.
    Begun,
    /// It was done.
    Done,
    /// It failed, and was not taken back whole.
    Failed,
    /// It failed or was cut off, and was taken back.
    Back,
}

/// The way back of one change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WayBack {
    /// Of which step.
    pub step: String,
    /// The shell that does it, its first line.
    pub shell: String,
}

impl PastRun {
    /// What became of the step of this name; nothing when it was never begun.
    #[must_use]
    pub fn state_of(&self, id: &str) -> Option<State> {
        let mut found = self.steps.iter().rev();
        found.find(|step| step.id == id).map(|step| step.state)
    }

    fn on_event(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let [time, event, id, ..] = words[..] else {
            return;
        };
        let state = match event {
            "begin" => State::Begun,
            "done" => State::Done,
            "failed" => State::Failed,
            "back" => State::Back,
            _ => return,
        };
        if state == State::Begun {
            self.steps.push(PastStep {
                id: id.to_owned(),
                begun_s: time.parse().unwrap_or(0),
                state,
            });
        } else if let Some(step) = self.steps.last_mut() {
            step.state = state;
        }
    }
}

impl WayBack {
    /// In words: which file, or which shell.
    #[must_use]
    pub fn describe(&self) -> String {
        let words = unquoted(&self.shell);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["restore", _, path, "nothing", ..] => format!("put {path} back, which was removed"),
            ["restore", _, path, ..] => format!("{path}: as it was before"),
            ["unmake_dir", _, path, ..] => format!("remove the directory {path}, if it is empty"),
            ["restore_mode", path, ..] => format!("{path}: mode and owner as they were before"),
            ["put_time_back", path, ..] => {
                format!("{path}: its time as before, if it is as before")
            }
            ["purge_packages"] => "purge no package".to_owned(),
            ["purge_packages", ref names @ ..] => format!("purge {}", names.join(" ")),
            _ => self.shell.clone(),
        }
    }
}

/// What `aureon undo` shows before it asks: each run, the youngest first, and what is taken back.
#[must_use]
pub fn describe_undo(runs: &[PastRun]) -> String {
    let mut out = String::new();
    for run in runs.iter().rev() {
        let _ = writeln!(out, "{}: {}, begun by {}", run.name, run.what, run.who);
        let mut step = "";
        for way in &run.back {
            if way.step != step {
                let _ = writeln!(out, "  {}", way.step);
                step = &way.step;
            }
            let _ = writeln!(out, "    {}", way.describe());
        }
    }
    out.push_str(
        "Files that somebody has changed since stay as they are, and are named.\n\
         When nothing is left to undo, what the journal kept goes too; the log of who did what, \
         /var/log/aureon-operator.log, stays.\n",
    );
    out
}

/// Reads what `tell_journal` printed.
#[must_use]
pub fn parse(told: &str) -> History {
    let mut history = History::default();
    for line in told.lines() {
        let (kind, rest) = line.split_once('\t').unwrap_or((line, ""));
        match (kind, history.runs.last_mut()) {
            ("lock", _) => history.lock = parse_lock(rest),
            ("run", _) => history.runs.push(PastRun {
                name: rest.to_owned(),
                ..PastRun::default()
            }),
            ("who", Some(run)) => run.who = rest.to_owned(),
            ("when", Some(run)) => run.when_s = rest.parse().unwrap_or(0),
            ("app", Some(run)) => run.app = rest.to_owned(),
            ("what", Some(run)) => run.what = rest.to_owned(),
            ("finished", Some(run)) => run.finished = true,
            ("undoing", Some(run)) => run.undoing = true,
            ("event", Some(run)) => run.on_event(rest),
            ("undo", Some(run)) => {
                let mut values = rest.splitn(3, '\t').skip(1);
                let mut value = || values.next().unwrap_or_default().to_owned();
                run.back.push(WayBack {
                    step: value(),
                    shell: value(),
                });
            }
            _ => {}
        }
    }
    history
}

fn parse_lock(values: &str) -> Option<Lock> {
    let values: Vec<&str> = values.splitn(4, '\t').collect();
    let [since, heard, running, holder] = values[..] else {
        return None;
    };
    Some(Lock {
        holder: holder.to_owned(),
        since_s: since.parse().ok()?,
        heard_s: heard.parse().ok()?,
        running: running == "running",
    })
}

/// The words of a line of shell as the prelude writes them: bare, or in single quotes.
fn unquoted(shell: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut begun, mut quoted) = (String::new(), false, false);
    let mut letters = shell.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => (quoted, begun) = (!quoted, true),
            '\\' if !quoted => word.extend(letters.next()),
            ' ' if !quoted => {
                if begun || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            other => word.push(other),
        }
    }
    if begun || !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "lock\t100\t160\tidle\talice@laptop\n\
        run\t10001-blog-20261125T125906Z\n\
        who\talice@laptop\nwhen\t90\napp\tblog\nwhat\tdeploy blog to example.com\n\
        finished\n\
        event\t91 begin nginx/site 10001\nevent\t92 done nginx/site\n\
        event\t93 begin units/service 10003\nevent\t94 failed units/service 1\n\
        event\t94 back units/service\n\
        tomorrow\tis another day\n\
        undo\t10002\tnginx/site\tsystemctl reload nginx\n\
        undo\t10001\tnginx/site\trestore 10001 '/etc/it'\\''s' 'file 644 0:0 ab  -' 9.5 aa\n";

    #[test]
    fn a_journal_is_read_back() {
        let history = parse(TOLD);
        let lock = history
            .lock
            .as_ref()
            .map(|lock| (lock.heard_s, lock.running));
        assert_eq!(lock, Some((160, false)));
        let run = &history.runs[0];
        assert!(run.finished && !run.undoing);
        assert_eq!((run.who.as_str(), run.when_s), ("alice@laptop", 90));
        assert_eq!(run.state_of("nginx/site"), Some(State::Done));
        assert_eq!(run.state_of("units/service"), Some(State::Back));
        assert_eq!(run.state_of("firewall/enable"), None);
        assert_eq!(run.back.len(), 2);
        assert_eq!(parse(""), History::default());
    }

    #[test]
    fn what_would_be_undone_is_told_in_words() {
        let text = describe_undo(&parse(TOLD).runs);
        let wanted = "10001-blog-20261125T125906Z: deploy blog to example.com, begun by \
            alice@laptop\n  nginx/site\n    systemctl reload nginx\n    \
            /etc/it's: as it was before\n";
        assert!(text.starts_with(wanted), "{text}");
    }
}
