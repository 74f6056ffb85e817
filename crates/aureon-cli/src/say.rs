//! What is told to the user: progress on standard error, results on standard output.
//!
//! For machines (`--json`) both are objects on standard output, one a line, each with an `event`.
//! Colour is for a terminal, and not when NO_COLOR (no-color.org) is set. A reader that has enough
//! is no failure: whoever watches may go.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use serde_json::{Value, json};

use crate::failure::Failure;

/// How things are told.
#[derive(Debug, Clone, Default)]
pub struct Say {
    /// Objects instead of text.
    pub json: bool,
    /// Only what went wrong.
    pub quiet: bool,
    /// Everything that the host says.
    pub verbose: bool,
    /// Standard error is a terminal.
    terminal: bool,
    /// Standard output may be coloured.
    colour: bool,
}

/// Colours, by what they mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Green: it is there, it went well.
    Good,
    /// Red: it goes, it failed.
    Bad,
    /// Bold.
    Strong,
    /// Grey.
    Weak,
}

impl Say {
    /// As this process's streams and environment are.
    #[must_use]
    pub fn new(json: bool, quiet: bool, verbose: bool) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            json,
            quiet,
            verbose,
            terminal: io::stderr().is_terminal(),
            colour: io::stdout().is_terminal() && !no_colour,
        }
    }

    /// The text in its tone, where colours are shown.
    #[must_use]
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.colour || self.json {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Strong => "1",
            Tone::Weak => "2",
        };
        ["\u{1b}[", code, "m", text, "\u{1b}[0m"].concat()
    }

    /// A result: on standard output, as it is.
    pub fn print(&self, text: &str) {
        let mut out = io::stdout().lock();
        drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    }

    /// An object for machines; nothing otherwise.
    pub fn event(&self, event: &Value) {
        if self.json {
            self.print(&[&event.to_string(), "\n"].concat());
        }
    }

    /// A line of progress.
    pub fn note(&self, text: &str) {
        if self.json {
            self.event(&json!({"event": "note", "text": text}));
        } else if !self.quiet {
            self.tell(&[text, "\n"].concat());
        }
    }

    /// Something that the user should know.
    pub fn warn(&self, text: &str) {
        if self.json {
            self.event(&json!({"event": "warning", "text": text}));
        } else {
            self.tell(&["warning: ", text, "\n"].concat());
        }
    }

    /// A line of what a step says on the host.
    pub fn host(&self, line: &str) {
        if self.json {
            self.event(&json!({"event": "host", "text": line}));
        } else if self.verbose {
            self.tell(&["    ", line, "\n"].concat());
        }
    }

    /// What a step that failed said last; nothing when it has been told already.
    pub fn last<'a>(&self, lines: impl IntoIterator<Item = &'a String>) {
        if !self.json && !self.verbose {
            for line in lines {
                self.tell(&["    ", line, "\n"].concat());
            }
        }
    }

    /// A step begins: number, of how many, its name for machines and for people.
    pub fn begin(&self, at: (usize, usize), id: &str, title: &str) {
        if self.json {
            let (number, of) = at;
            let event = json!({"event": "step", "state": "begun", "id": id, "title": title,
                "number": number, "of": of});
            self.event(&event);
        } else if self.waits() {
            self.tell(&format!("[{}/{}] {title} … ", at.0, at.1));
        }
    }

    /// So much of a step is done: on a terminal, where its line is open.
    pub fn progress(&self, at: (usize, usize), title: &str, done: u64, of: u64) {
        if self.waits() && of > 0 {
            let percent = done.saturating_mul(100) / of;
            self.tell(&format!("\r[{}/{}] {title} … {percent} % ", at.0, at.1));
        }
    }

    /// The step has ended.
    pub fn end(&self, at: (usize, usize), id: &str, title: &str, ok: bool, time: Duration) {
        let state = if ok { "ok" } else { "failed" };
        if self.json {
            let event = json!({"event": "step", "state": state, "id": id, "title": title,
                "milliseconds": u64::try_from(time.as_millis()).unwrap_or(u64::MAX)});
            return self.event(&event);
        }
        let taken = format!("{state} ({:.1} s)\n", time.as_secs_f64());
        if self.waits() {
            // Over what was told of its progress.
            let line = format!(
                "\r[{}/{}] {title}: {}      \n",
                at.0,
                at.1,
                taken.trim_end()
            );
            self.tell(&line);
        } else if !self.quiet || !ok {
            self.tell(&format!("[{}/{}] {title}: {taken}", at.0, at.1));
        }
    }

    /// Whether the line of a step is open while it runs.
    fn waits(&self) -> bool {
        self.terminal && !self.verbose && !self.quiet
    }

    /// Why it went wrong.
    pub fn fail(&self, failure: &Failure) {
        if self.json {
            for event in failure.events() {
                self.event(&event);
            }
        } else if !matches!(failure, Failure::Code(_)) {
            self.tell(&format!("{failure}\n"));
        }
    }

    /// Asks, and waits for a line: yes, or anything else.
    ///
    /// # Errors
    /// Nobody is there to answer.
    pub fn ask(&self, question: &str) -> Result<bool, Failure> {
        if !io::stdin().is_terminal() || self.json {
            let what = "nobody can be asked: standard input is no terminal";
            return Err(Failure::new(what, "look at the plan, then give -y"));
        }
        self.tell(&[question, " [y/N] "].concat());
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        Ok(read.is_ok() && ["y", "yes"].contains(&line.trim().to_lowercase().as_str()))
    }

    fn tell(&self, text: &str) {
        // If standard error is gone there is nobody to tell; the exit code remains.
        drop(io::stderr().write_all(text.as_bytes()));
    }
}
