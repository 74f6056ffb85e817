//! The system's OpenSSH client as the way to a host.
//!
//! One connection is shared by all steps where the client can do that (not on Windows). A script
//! travels in base64 on the first line of standard input, so that it is whole when it is read,
//! and neither it nor what follows it is in anybody's list of processes; the rest is the step's own
//! input. What the script prints comes back between two lines that only this process knows: without
//! the first it never began, without the second the connection was lost.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::SystemTime;

use super::{Answer, Host, HostError};
use crate::facts::base64::write_base64;
use crate::limits;

/// Reads the script, then runs it: in this shell, because arguments can be seen by every user. What
/// arrives in part has no end of line and is not run.
const RUN: &str = "IFS= read -r s && s=$(printf %s \"$s\" | base64 -d) && echo MARK begin && \
    { (eval \"$s\"); printf \"\\nMARK end %s\\n\" $?; }";

/// Makes the directory of the shared connection on this machine.
const SHARE: &str = include_str!("share.sh");

/// Becomes root first. The session's ports are what `sudo` would leave out.
const BECOME_ROOT: &str = "if [ \"$(id -u)\" = 0 ]; then exec sh -c \"$0\"; else exec sudo -n env \
    \"SSH_CONNECTION=$SSH_CONNECTION\" sh -c \"$0\"; fi";

/// What the client is told beside the host.
#[derive(Debug, Clone, Default)]
pub struct SshOptions {
    /// `-p`.
    pub port: Option<u16>,
    /// `-i`.
    pub identity: Option<PathBuf>,
    /// `-o`, each.
    pub options: Vec<String>,
    /// Another client than `ssh`.
    pub program: Option<PathBuf>,
}

/// A host that is reached by ssh.
#[derive(Debug)]
pub struct Ssh {
    name: String,
    options: SshOptions,
    /// A directory that nobody else can read, with the socket of the shared connection.
    shared: Option<PathBuf>,
    /// Makes the two lines around an answer unlike anything that a script prints.
    mark: String,
}

impl Ssh {
    /// Connects to nothing yet. `name` is what a user would give to `ssh`.
    #[must_use]
    pub fn new(name: &str, options: SshOptions) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_nanos());
        Self {
            name: name.to_owned(),
            options,
            shared: None,
            mark: format!("aureon-{:x}-{now:x}", std::process::id()),
        }
    }

    fn program(&self) -> &Path {
        self.options.program.as_deref().unwrap_or(Path::new("ssh"))
    }

    /// The client's arguments up to the host.
    fn arguments(&self, shared: bool) -> Vec<String> {
        let mut options = vec![
            format!("ConnectTimeout={}", limits::CONNECT_TIMEOUT.as_secs()),
            format!("ServerAliveInterval={}", limits::ALIVE_INTERVAL.as_secs()),
            format!("ServerAliveCountMax={}", limits::ALIVE_QUESTIONS_MAX),
            // Of a user's own configuration what would get in the way of a command.
            "ClearAllForwardings=yes".to_owned(),
            "RemoteCommand=none".to_owned(),
            "PermitLocalCommand=no".to_owned(),
        ];
        // Without a terminal nobody answers a question.
        if !io::stdin().is_terminal() {
            options.push("BatchMode=yes".to_owned());
        }
        match &self.shared {
            Some(directory) if shared => {
                options.push("ControlMaster=auto".to_owned());
                // One host's, so it needs no name of its host; a socket's path is short on macOS.
                options.push(format!("ControlPath={}/s", directory.display()));
                options.push(format!(
                    "ControlPersist={}",
                    limits::SHARED_TIMEOUT.as_secs()
                ));
            }
            _ => options.extend(["ControlMaster=no", "ControlPath=none"].map(str::to_owned)),
        }
        let mut arguments = vec!["-T".to_owned()];
        // The first word for an option is the one that counts: the user's go before ours.
        for option in self.options.options.iter().chain(&options) {
            arguments.extend(["-o".to_owned(), option.clone()]);
        }
        if let Some(port) = self.options.port {
            arguments.extend(["-p".to_owned(), port.to_string()]);
        }
        if let Some(identity) = &self.options.identity {
            arguments.extend(["-i".to_owned(), identity.display().to_string()]);
        }
        arguments.extend(["--".to_owned(), self.name.clone()]);
        arguments
    }

    /// A directory of mode 0700 beneath the one for such things, named after this process. `mktemp`
    /// is on every Unix; without it each step has a connection of its own.
    fn share(&mut self) {
        if self.shared.is_some() || std::env::consts::OS == "windows" {
            return;
        }
        let beneath = std::env::temp_dir();
        // A space would end the client's option.
        if beneath.display().to_string().contains(char::is_whitespace) {
            return;
        }
        let mut command = Command::new("sh");
        command.args(["-c", SHARE, "sh"]).arg(beneath);
        let made = command.arg(std::process::id().to_string()).output();
        if let Some(made) = made.ok().filter(|made| made.status.success()) {
            let path = String::from_utf8_lossy(&made.stdout).trim_end().to_owned();
            if !path.is_empty() {
                self.shared = Some(PathBuf::from(path));
            }
        }
    }

    /// What the host's shell is given as a command.
    fn command(&self) -> String {
        let run = RUN.replace("MARK", &self.mark);
        ["exec sh -c '", BECOME_ROOT, "' '", &run, "'"].concat()
    }

    fn start(&self, shared: bool) -> io::Result<Child> {
        Command::new(self.program())
            .args(self.arguments(shared))
            .arg(self.command())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }

    /// Runs a script through a connection. Without `input` its standard input stays open until it
    /// ends.
    fn ask(
        &self,
        shared: bool,
        script: &str,
        input: Option<&mut dyn Read>,
        told: &mut dyn FnMut(&str),
    ) -> Result<Answer, HostError> {
        if script.len() > limits::SCRIPT_BYTES_MAX {
            return Err(HostError::Input(io::Error::other("the script is too long")));
        }
        let mut child = self.start(shared).map_err(HostError::Client)?;
        let mut stdin = child.stdin.take();
        let lines = read_lines(child.stdout.take());
        let errors = read_errors(child.stderr.take());
        let mut heard = Heard::new(&self.mark);
        let line = [write_base64(script.as_bytes()).as_str(), "\n"].concat();
        let open = input.is_none();
        let mut nothing = io::empty();
        let input: &mut dyn Read = input.unwrap_or(&mut nothing);
        let sent = send(&mut line.as_bytes().chain(input), &mut stdin, || {
            lines.try_iter().for_each(|line| heard.on_line(&line, told));
        });
        if !open || sent.is_err() {
            drop(stdin.take());
        }
        if let Err(error) = sent {
            // The script learns by the end of its input that it is not whole.
            drop(child.kill());
            drop(child.wait());
            return Err(HostError::Input(error));
        }
        for line in &lines {
            heard.on_line(&line, told);
            if heard.code.is_some() {
                break;
            }
        }
        drop(stdin);
        // A program that the script left in the background may hold the connection open; the
        // answer is there all the same.
        let is_over = |lines: &Receiver<String>| loop {
            match lines.recv_timeout(limits::END_PATIENCE) {
                Ok(_) => {}
                Err(error) => break error == RecvTimeoutError::Disconnected,
            }
        };
        if heard.code.is_some() && !is_over(&lines) {
            drop(child.kill());
        }
        let status = child.wait().map_err(HostError::Client)?;
        // A client that stays behind for the shared connection may hold the pipe open.
        let stderr = errors.recv_timeout(limits::ERRORS_PATIENCE);
        heard.into_answer(&self.name, status.code(), stderr.unwrap_or_default())
    }
}

impl Host for Ssh {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(
        &mut self,
        script: &str,
        input: &mut dyn Read,
        told: &mut dyn FnMut(&str),
    ) -> Result<Answer, HostError> {
        self.share();
        self.ask(true, script, Some(input), told)
    }

    fn run_anew(&mut self, script: &str) -> Result<Answer, HostError> {
        self.ask(false, script, Some(&mut io::empty()), &mut |_| {})
    }

    fn follow(&mut self, script: &str, told: &mut dyn FnMut(&str)) -> Result<Answer, HostError> {
        self.share();
        self.ask(true, script, None, told)
    }
}

impl Drop for Ssh {
    /// Ends the shared connection; it would end by itself, a minute later.
    fn drop(&mut self) {
        let Some(directory) = &self.shared else {
            return;
        };
        // Nothing to end is no mistake: every run may have failed.
        let ended = Command::new(self.program())
            .args(["-O", "exit"])
            .args(self.arguments(true))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        drop(ended);
        drop(fs::remove_dir_all(directory));
    }
}

/// Writes everything that `input` has, piece by piece, and looks up in between. A reader that is
/// gone has its reason, which is in its answer.
fn send(
    input: &mut dyn Read,
    to: &mut Option<ChildStdin>,
    mut look_up: impl FnMut(),
) -> io::Result<()> {
    let Some(to) = to else {
        return Ok(());
    };
    let mut piece = vec![0; limits::PIECE_BYTES];
    loop {
        let read = match input.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if to.write_all(&piece[..read]).is_err() {
            return Ok(());
        }
        look_up();
    }
}

/// Standard output, a line each. The host can not be made to wait by a terminal that is slow: what
/// is not shown yet waits here.
fn read_lines(from: Option<ChildStdout>) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    let Some(from) = from else {
        return receiver;
    };
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        loop {
            let mut line = Vec::new();
            let max = limits::LINE_BYTES_MAX as u64;
            match from.by_ref().take(max).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            let line = String::from_utf8_lossy(&line).into_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The end of standard error, when it has ended.
fn read_errors(from: Option<ChildStderr>) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    let Some(mut from) = from else {
        return receiver;
    };
    thread::spawn(move || {
        let mut last = VecDeque::new();
        let mut piece = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut piece) {
            last.extend(&piece[..read]);
            let more = last.len().saturating_sub(limits::ERRORS_BYTES_MAX);
            last.drain(..more);
        }
        let text = String::from_utf8_lossy(last.make_contiguous()).into_owned();
        drop(sender.send(text));
    });
    receiver
}

/// What came back so far.
struct Heard {
    begin: String,
    end: String,
    begun: bool,
    /// An empty line that may belong to the last one of ours.
    empty: bool,
    stdout: String,
    code: Option<i32>,
}

impl Heard {
    fn new(mark: &str) -> Self {
        Self {
            begin: [mark, " begin"].concat(),
            end: [mark, " end "].concat(),
            begun: false,
            empty: false,
            stdout: String::new(),
            code: None,
        }
    }

    fn on_line(&mut self, line: &str, told: &mut dyn FnMut(&str)) {
        if !self.begun {
            // What a shell's start files print is nobody's.
            self.begun = line == self.begin;
            return;
        }
        if let Some(code) = line.strip_prefix(&self.end) {
            self.code = code.trim_end().parse().ok();
            return;
        }
        if std::mem::take(&mut self.empty) {
            self.keep("", told);
        }
        match line.is_empty() {
            true => self.empty = true,
            false => self.keep(line, told),
        }
    }

    fn keep(&mut self, line: &str, told: &mut dyn FnMut(&str)) {
        told(line);
        if self.stdout.len() + line.len() >= limits::OUTPUT_BYTES_MAX {
            // Of an endless log the end is what somebody may want.
            let half = self.stdout.len() / 2;
            let cut = self.stdout[..]
                .char_indices()
                .map(|(at, _)| at)
                .find(|at| *at >= half);
            self.stdout.drain(..cut.unwrap_or(0));
        }
        self.stdout.push_str(line);
        self.stdout.push('\n');
    }

    fn into_answer(
        self,
        name: &str,
        status: Option<i32>,
        stderr: String,
    ) -> Result<Answer, HostError> {
        match (self.code, self.begun) {
            (Some(code), _) => Ok(Answer {
                code,
                stdout: self.stdout,
                stderr,
            }),
            (None, true) => Err(HostError::Lost(shown(&stderr, status))),
            (None, false) => {
                let what = shown(&stderr, status);
                let advice = advise(&stderr, name);
                Err(HostError::Unreachable([what, advice].concat()))
            }
        }
    }
}

/// The last lines that the client said, on one line.
fn shown(stderr: &str, status: Option<i32>) -> String {
    let lines = stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let mut lines: Vec<&str> = lines.rev().take(limits::CLIENT_LINES).collect();
    lines.reverse();
    match (lines.is_empty(), status) {
        (false, _) => lines.join("; "),
        (true, Some(status)) => format!("ssh ended with {status} and said nothing"),
        (true, None) => "ssh was killed".to_owned(),
    }
}

/// What to try, by what the client says.
const ADVICE: &[(&str, &str)] = &[
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the machine behind this name is another one than \
        before: if you had it installed anew, `ssh-keygen -R HOST` forgets the old one",
    ),
    (
        "Host key verification failed",
        "connect once by hand and compare its key: ssh HOST",
    ),
    (
        "Permission denied",
        "name the user and the key that ssh lets in: -i FILE user@host",
    ),
    (
        "Too many authentication failures",
        "the agent offers too many keys: name one with -i FILE \
        and --ssh-option IdentitiesOnly=yes",
    ),
    (
        "Connection refused",
        "no ssh listens there: is the port another one? -p PORT",
    ),
    (
        "timed out",
        "is the address right, the machine on, and port 22 open at the provider?",
    ),
    ("Could not resolve hostname", "is the name spelled right?"),
    (
        "No route to host",
        "is the machine on, and this one online?",
    ),
    ("Network is unreachable", "is this machine online?"),
    (
        "a password is required",
        "log in as root, or let this user become root without a password: \
        a line `USER ALL=(ALL) NOPASSWD: ALL` in /etc/sudoers.d/aureon",
    ),
    (
        "not in the sudoers file",
        "log in as root, or as a user who may become root",
    ),
    ("sudo: not found", "log in as root: this user has no sudo"),
    (
        "sudo: command not found",
        "log in as root: this user has no sudo",
    ),
    ("base64", "the host lacks coreutils"),
];

fn advise(stderr: &str, name: &str) -> String {
    let known = ADVICE.iter().find(|(said, _)| stderr.contains(said));
    known.map_or_else(String::new, |(_, advice)| {
        ["; ", &advice.replace("HOST", name)].concat()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(lines: &[&str]) -> (Result<Answer, HostError>, Vec<String>) {
        let mut heard = Heard::new("m");
        let mut told = Vec::new();
        for line in lines {
            heard.on_line(line, &mut |line| told.push(line.to_owned()));
        }
        (
            heard.into_answer("h", Some(255), "Permission denied\n".into()),
            told,
        )
    }

    #[test]
    fn an_answer_is_what_stands_between_the_two_lines() {
        let (answer, told) = hear(&["welcome", "m begin", "", "a", "m ending", "", "", "m end 7"]);
        let answer = answer.unwrap();
        assert_eq!(
            (answer.code, answer.stdout.as_str()),
            (7, "\na\nm ending\n\n")
        );
        assert_eq!(told, ["", "a", "m ending", ""]);
    }

    #[test]
    fn without_an_end_it_was_lost_and_without_a_beginning_never_reached() {
        let lost = hear(&["m begin", "a"]).0.unwrap_err();
        assert!(matches!(lost, HostError::Lost(_)), "{lost}");
        let unreachable = hear(&["m end 0"]).0.unwrap_err();
        assert_eq!(
            unreachable.to_string(),
            "the host can not be reached: Permission denied; name the user and the key that ssh \
             lets in: -i FILE user@host"
        );
    }

    #[test]
    fn of_an_endless_answer_the_end_is_kept() {
        let mut heard = Heard::new("m");
        heard.on_line("m begin", &mut |_| {});
        let line = "ä".repeat(32 << 10);
        for _ in 0..300 {
            heard.on_line(&line, &mut |_| {});
        }
        heard.on_line("last", &mut |_| {});
        assert!(heard.stdout.len() <= limits::OUTPUT_BYTES_MAX + line.len());
        assert!(heard.stdout.ends_with("last\n"));
    }

    #[test]
    fn the_users_options_go_before_ours() {
        let options = SshOptions {
            port: Some(2222),
            identity: Some("key".into()),
            options: vec!["ConnectTimeout=1".into()],
            program: None,
        };
        let ssh = Ssh::new("root@h", options);
        let words = ssh.arguments(false);
        let at = |word: &str| words.iter().position(|known| known == word).unwrap();
        assert!(at("ConnectTimeout=1") < at("ConnectTimeout=20"));
        assert_eq!(
            words[words.len() - 6..],
            ["-p", "2222", "-i", "key", "--", "root@h"]
        );
        assert!(
            ssh.command().matches('\'').count() == 4,
            "{}",
            ssh.command()
        );
    }
}
