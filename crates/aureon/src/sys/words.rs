//! What is said in the same words on every system: files, signals, ends of processes, services.
//!
//! Only types. What a system has to do to fill them in stands in its own files, which re-export
//! them, so that `sys::dir::Facts` and `sys::signal::Signal` are the names to use outside.

/// What something in the file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file: the only kind that is served.
    File,
    /// A directory.
    Directory,
    /// A FIFO, socket or device: never served.
    Other,
}

/// What the file system says of a file. Two equal ones mean the same file in the same state, as
/// far as its clock can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// File, directory or neither.
    pub kind: Kind,
    /// Bytes.
    pub len: u64,
    /// Last modification: seconds since the epoch, negative before it.
    pub modified_s: i64,
    /// Nanoseconds within that second.
    pub modified_ns: i64,
    /// Last change of content, name or rights; it cannot be set back by a program.
    pub changed_s: i64,
    /// Nanoseconds within that second.
    pub changed_ns: i64,
    /// Number within its file system.
    pub inode: u64,
    /// Number of its file system.
    pub device: u64,
}

impl Facts {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }
}

/// Why something could not be opened, by what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not exist, or not beneath the directory, or is nothing that can be opened.
    Missing,
    /// The process may not read it.
    Denied,
    /// The machine is out of descriptors or memory, or the tree changes too fast: try later.
    Exhausted,
    /// The disk or the file system failed.
    Broken,
}

/// One name in a directory.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name alone, without the path to it.
    pub name: String,
    /// What it leads to, links followed.
    pub facts: Facts,
}

/// A signal that a server obeys. Windows has the first two, under other names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `SIGTERM`, from service managers and `kill`; the end of a Windows session or of its console.
    Terminate,
    /// `SIGINT`, from Ctrl-C.
    Interrupt,
    /// `SIGQUIT`, from Ctrl-\.
    Quit,
    /// `SIGHUP`, which asks a daemon to read its configuration again.
    Hangup,
    /// `SIGUSR1`, which asks a daemon to open its logs again.
    User1,
    /// `SIGUSR2`, which asks a daemon to hand over to a new process of its program.
    User2,
}

impl Signal {
    /// All that there are.
    pub const ALL: [Signal; 6] = [
        Signal::Terminate,
        Signal::Interrupt,
        Signal::Quit,
        Signal::Hangup,
        Signal::User1,
        Signal::User2,
    ];

    /// Its name without `SIG`, as `kill` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Signal::Terminate => "TERM",
            Signal::Interrupt => "INT",
            Signal::Quit => "QUIT",
            Signal::Hangup => "HUP",
            Signal::User1 => "USR1",
            Signal::User2 => "USR2",
        }
    }
}

/// How a process ended (waitpid(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// What a rule of a sandbox permits beneath a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading files and listing directories.
    Read,
    /// That and changing, making and removing them, but not executing.
    Write,
}

/// What is to be done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// To read it, or the names in a directory.
    Read,
    /// To write it, or names in a directory.
    Write,
    /// To run it, or to go through a directory.
    Enter,
}

/// The system's number for why something failed: an error that is no more than that, so that
/// nothing has to be given back on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub i32);

impl Code {
    /// What the system says of it.
    pub fn text(self) -> String {
        std::io::Error::from_raw_os_error(self.0).to_string()
    }
}

/// A service as it is to be installed.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Its name among the services.
    pub name: &'a str,
    /// Its name for people.
    pub title: &'a str,
    /// What it does, in a sentence.
    pub about: &'a str,
    /// The whole command line, quoted as the system reads it.
    pub command: &'a str,
    /// The account that it runs as.
    pub account: &'a str,
    /// Milliseconds that it may take to stop when the machine does.
    pub stop_ms: u32,
}

/// What a service manager is asked to do with a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// To start it.
    Start,
    /// To have it stop.
    Stop,
    /// To have it read its configuration again.
    Reload,
    /// To forget it.
    Remove,
}

/// What a service is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing: there is no process.
    Stopped,
    /// It does not answer yet.
    Starting,
    /// It answers.
    Running,
    /// It finishes what runs.
    Stopping,
}

/// How a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// Another number than before, when it came nearer to its next state.
    pub checkpoint: u32,
    /// Its process, or 0.
    pub pid: u32,
    /// The code that it stopped with, if it said one other than 0.
    pub code: Option<u32>,
    /// Else the system's number for why it stopped; 0 is none.
    pub error: u32,
}
