//! The part on the host that keeps each replaced byte, in shell, and this side of it.
//!
//! `prelude.sh` is put before every step's script. A run has a directory of its own,
//! `/var/lib/aureon-operator/journal/<run>`, written before what it describes happens: a step that
//! was begun and not done is taken back by the next run (`heal`), and what was done can be taken
//! back run by run (`undo`). Nothing is remembered here: after a crash of either side the host
//! knows everything.
//!
//! The order is [`Journal::lock`], which also heals; [`Journal::begin`]; a [`Journal::step`] for
//! each step of the plan; [`Journal::finish`]; [`Journal::unlock`]. [`history`] reads it all back.

pub mod history;

use crate::host::{Answer, Host, HostError};
use crate::limits;
use crate::plan::script::step_shell;
use crate::plan::shell::word;
use crate::plan::{Act, Step};
use history::State;
use std::fmt;
use std::io::Read;

/// The functions that every step's script begins with.
pub const PRELUDE: &str = concat!(
    include_str!("prelude.sh"),
    include_str!("../release/release.sh"),
    include_str!("../plan/certificate/certificate.sh")
);

/// What the prelude exits with when somebody else has the lock (EX_TEMPFAIL of sysexits.h).
const LOCKED_CODE: i32 = 75;

/// What it says then begins with this.
pub const LOCKED: &str = "the host is locked by ";

/// Who changes the host, and the word that tells his lock from that of others.
#[derive(Debug, Clone)]
pub struct Journal {
    who: String,
    token: String,
}

/// The name of a run on the host: `10003-blog-20261125T125906Z`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run(pub String);

/// Which runs are taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Back {
    /// The youngest.
    Last,
    /// All, from the youngest to the oldest.
    All,
}

/// Why something did not happen.
#[derive(Debug)]
pub enum JournalError {
    /// No connection, or a lost one.
    Host(HostError),
    /// Somebody else is at it: who, for how long.
    Locked(String),
    /// A step failed and was taken back; it has said why.
    Failed(String),
    /// The host's answer makes no sense.
    Strange(String),
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(error) => error.fmt(f),
            Self::Locked(why) | Self::Failed(why) => f.write_str(why),
            Self::Strange(answer) => write!(f, "the host's answer is not understood: {answer}"),
        }
    }
}

impl std::error::Error for JournalError {}

impl From<HostError> for JournalError {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

/// What a step prints, line by line.
pub type Told<'a> = &'a mut dyn FnMut(&str);

impl Journal {
    /// `who` is for people (`alice@laptop`); `token` is a word that nobody else has.
    #[must_use]
    pub fn new(who: &str, token: &str) -> Self {
        // A line of its own on the host, and a column.
        let who = who.chars().map(|c| if c.is_control() { '?' } else { c });
        Self {
            who: who.collect(),
            token: token.to_owned(),
        }
    }

    /// Takes the lock, then takes back the step in which an earlier run was cut off, if there is
    /// one. What the host is like should be asked after this.
    ///
    /// # Errors
    /// [`JournalError::Locked`] when somebody else is at it.
    pub fn lock(
        &self,
        host: &mut dyn Host,
        break_lock: bool,
        told: Told<'_>,
    ) -> Result<(), JournalError> {
        let script = self.lock_script(break_lock);
        let locked = checked(host.run(&script, &mut std::io::empty(), told)?);
        if matches!(locked, Err(JournalError::Failed(_))) {
            // Nobody has to wait for who can not go on.
            let _ = self.unlock(host);
        }
        locked.map(drop)
    }

    /// Begins a run: `what` says for what, in a few words.
    ///
    /// # Errors
    /// No lock, no connection, a full disk.
    pub fn begin(&self, host: &mut dyn Host, app: &str, what: &str) -> Result<Run, JournalError> {
        let script = self.begin_script(app, what);
        let answer = host.run(&script, &mut std::io::empty(), &mut |_| {})?;
        let answer = checked(answer)?;
        let name = answer.lines().find_map(|line| line.strip_prefix("run\t"));
        match name {
            Some(name) => Ok(Run(name.to_owned())),
            None => Err(JournalError::Strange(answer)),
        }
    }

    /// Runs a step. When the connection is lost on the way, the host ends the step by itself; it
    /// is asked anew how that went.
    ///
    /// # Errors
    /// [`JournalError::Failed`] when the step failed: then it has been taken back.
    pub fn step(
        &self,
        host: &mut dyn Host,
        run: &Run,
        step: &Step,
        input: &mut dyn Read,
        told: Told<'_>,
    ) -> Result<(), JournalError> {
        let script = self.step_script(run, step);
        let answer = match step.act {
            Act::Anew => host.run_anew(&script).inspect(|answer| {
                answer.stdout.lines().for_each(&mut *told);
            }),
            Act::Host | Act::Upload | Act::Key | Act::Reach => host.run(&script, input, told),
        };
        match answer {
            Ok(answer) => checked(answer).map(drop),
            Err(HostError::Lost(why)) => self.outcome(host, run, step, why),
            Err(error) => Err(error.into()),
        }
    }

    /// The script that locks and heals, as it travels.
    #[must_use]
    pub fn lock_script(&self, break_lock: bool) -> String {
        let lock = if break_lock { "lock break" } else { "lock" };
        self.relayed(lock, "heal")
    }

    /// The script that begins a run.
    #[must_use]
    pub fn begin_script(&self, app: &str, what: &str) -> String {
        self.script(&format!(
            "join_run ''\nstart_run {} {}\n",
            word(app),
            word(what)
        ))
    }

    /// The script that ends a run.
    #[must_use]
    pub fn finish_script(&self, run: &Run, result: &str) -> String {
        self.script(&format!(
            "join_run {}\nfinish_run {}\n",
            word(&run.0),
            word(result)
        ))
    }

    /// The script that takes runs back.
    #[must_use]
    pub fn undo_script(&self, back: Back) -> String {
        let which = match back {
            Back::Last => "undo_runs last",
            Back::All => "undo_runs",
        };
        self.relayed("", which)
    }

    /// The script of a step.
    #[must_use]
    pub fn step_script(&self, run: &Run, step: &Step) -> String {
        let shell = step_shell(step);
        self.script(&format!(
            "join_run {}\n{{\n{shell}}} 2>&1 | hear\n",
            word(&run.0)
        ))
    }

    /// How a step ended whose connection was lost: waits for its end.
    fn outcome(
        &self,
        host: &mut dyn Host,
        run: &Run,
        step: &Step,
        lost: String,
    ) -> Result<(), JournalError> {
        let script = format!("join_run {}\ntell_journal\n", word(&run.0));
        let script = self.script(&script);
        let mut tries = 1;
        let answer = loop {
            match host.run(&script, &mut std::io::empty(), &mut |_| {}) {
                Ok(answer) => break answer,
                Err(error) if tries == limits::RECONNECTS_MAX => return Err(error.into()),
                // The line may come back.
                Err(_) => std::thread::sleep(limits::RECONNECT_PAUSE * tries),
            }
            tries += 1;
        };
        let history = history::parse(&checked(answer)?);
        let state = history.runs.iter().find(|found| found.name == run.0);
        let state = state.and_then(|found| found.state_of(&step.id));
        let what = match state {
            Some(State::Done) => return Ok(()),
            // It did not get there whole.
            None => return Err(HostError::Lost(lost).into()),
            Some(State::Back) => "and was taken back",
            Some(State::Begun | State::Failed) => "and is taken back by the next run",
        };
        let id = &step.id;
        let why = format!("{id} failed while the connection was lost, {what}");
        Err(JournalError::Failed(why))
    }

    /// Ends a run, well or not (`result` is for the audit log): no step of it is open.
    ///
    /// # Errors
    /// No connection, or the lock is lost.
    pub fn finish(&self, host: &mut dyn Host, run: &Run, result: &str) -> Result<(), JournalError> {
        let script = self.finish_script(run, result);
        checked(host.run(&script, &mut std::io::empty(), &mut |_| {})?).map(drop)
    }

    /// Takes runs back, the youngest first. A file that somebody else has changed since stays, and
    /// is told. After a crash in the middle, the next lock goes on with it.
    ///
    /// # Errors
    /// A way back that failed; it is told which.
    pub fn undo(
        &self,
        host: &mut dyn Host,
        back: Back,
        told: Told<'_>,
    ) -> Result<(), JournalError> {
        let script = self.undo_script(back);
        checked(host.run(&script, &mut std::io::empty(), told)?).map(drop)
    }

    /// Lets others in. After the last run was undone, what the journal kept goes too.
    ///
    /// # Errors
    /// No connection.
    pub fn unlock(&self, host: &mut dyn Host) -> Result<(), JournalError> {
        let script = self.script("unlock\n");
        checked(host.run(&script, &mut std::io::empty(), &mut |_| {})?).map(drop)
    }

    /// Behind `before`, what goes on to its end though nobody listens any more.
    fn relayed(&self, before: &str, what: &str) -> String {
        let relayed = format!("{{\n{what}\nwell\n}} 2>&1 | relay\n");
        self.script(&format!(
            "{before}\njoin_run ''\nrm -f \"$AUREON_STATE/lock/well\"\n{relayed}"
        ))
    }

    /// A whole script: who, the prelude, and then this.
    fn script(&self, shell: &str) -> String {
        let (who, token) = (word(&self.who), word(&self.token));
        format!("AUREON_WHO={who}\nAUREON_TOKEN={token}\n{PRELUDE}\n{shell}")
    }
}

/// Everything the host knows of runs.
///
/// # Errors
/// No connection.
pub fn read(host: &mut dyn Host) -> Result<history::History, JournalError> {
    let script = format!("{PRELUDE}\ntell_journal\n");
    let answer = host.run(&script, &mut std::io::empty(), &mut |_| {})?;
    Ok(history::parse(&checked(answer)?))
}

/// The standard output of a script that ended well.
fn checked(answer: Answer) -> Result<String, JournalError> {
    let last = |text: &str| text.lines().last().unwrap_or_default().to_owned();
    match answer.code {
        0 => Ok(answer.stdout),
        LOCKED_CODE => Err(JournalError::Locked(last(&answer.stdout))),
        _ => {
            let said = [answer.stdout, answer.stderr].concat();
            let error = said.lines().find_map(|line| line.strip_prefix("error: "));
            // A program's own words stand right before ours.
            let own = said.split("\nfailed: ").next().unwrap_or_default();
            let why = error.map_or_else(|| last(own), str::to_owned);
            Err(JournalError::Failed(why))
        }
    }
}
