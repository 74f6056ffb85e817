//! A host that is a directory: scripts run here, by this machine's `sh`, below a root of their own.
//!
//! Programs that would touch the machine are replaced by ones that touch the directory; and the
//! programs by which the prelude changes files can be made to end everything at the n-th call, as a
//! crash would, with what was not yet written to the disk torn.

use super::programs;
use aureon_cli::host::{Answer, Host, HostError};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that is removed at the end.
pub(crate) struct Scratch {
    /// Holds everything.
    pub(crate) directory: PathBuf,
    /// The host's `/`.
    pub(crate) root: PathBuf,
    /// Comes first in PATH.
    programs: PathBuf,
    /// Comes before it where everything is to end.
    killers: PathBuf,
    /// At which call of a program that changes files everything ends, and how.
    pub(crate) kill: Option<(u32, &'static str)>,
}

/// The programs by which the prelude changes files.
const CHANGING: &[&str] = &[
    "cat", "chmod", "chown", "cp", "ln", "mkdir", "mv", "rm", "rmdir", "sync", "touch",
];

/// Before, after: the call was not made, or was. Torn: what is synchronised or copied by it has a
/// part of its bytes. Fails: nothing ends, but this call fails, as on a full disk.
pub(crate) const WAYS: &[&str] = &["before", "after", "torn", "fails"];

const KILLER: &str = r#"#!/bin/sh
name=${0##*/}
read -r count <"$KILL_COUNT"
echo $((count + 1)) >"$KILL_COUNT"
if [ "$count" -eq "$KILL_AT" ]; then
  eval "last=\${$#}"
  [ "$KILL_HOW" != fails ] || exit 1
  case $KILL_HOW$name in
    after*) /usr/bin/"$name" "$@" ;;
    torncp) /usr/bin/cp "$@"; torn=$last ;;
    tornsync) torn=$last ;;
  esac
  if [ -f "${torn-}" ] && [ ! -L "$torn" ]; then
    # Of the log only the last line is not on the disk yet.
    size=$(/usr/bin/stat -c %s "$torn")
    case $torn in
      */log) safe=$(/usr/bin/sed '$d' "$torn" | /usr/bin/wc -c) ;;
      *) safe=0 ;;
    esac
    /usr/bin/truncate -s $((safe + (size - safe) * KILL_TEAR / 100)) "$torn"
  fi
  kill -KILL 0
fi
[ "$name" != sync ] || exit 0
exec /usr/bin/"$name" "$@"
"#;

/// As a script is run that came by ssh: by the shell that has read it.
const EVAL: &str = r#"s=$(/usr/bin/cat "$0") && { (eval "$s"); exit $?; }"#;

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Scratch {
    pub(crate) fn new() -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("aureon-journal-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let scratch = Self {
            root: directory.join("root"),
            programs: directory.join("programs"),
            killers: directory.join("killers"),
            directory,
            kill: None,
        };
        for path in ["root/var/lib", "root/var/log", "programs", "killers"] {
            fs::create_dir_all(scratch.directory.join(path)).unwrap();
        }
        for name in CHANGING {
            programs::write(&scratch.killers.join(name), KILLER);
        }
        // What is written is compared here, not what a power failure leaves.
        scratch.program("sync", "#!/bin/sh\n");
        scratch
    }

    /// A program that scripts find before the machine's own.
    pub(crate) fn program(&self, name: &str, text: &str) {
        programs::write(&self.programs.join(name), text);
    }

    /// The same host, as it is at this moment.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::new();
        let mut command = Command::new("cp");
        command.arg("-aT").arg(&self.root).arg(&copy.root);
        assert!(command.status().unwrap().success());
        copy
    }

    /// At how many calls the last script that had `kill` could have been ended.
    pub(crate) fn calls(&self) -> u32 {
        let count = fs::read_to_string(self.directory.join("count")).unwrap();
        count.trim().parse().unwrap()
    }

    /// Runs shell that needs no prelude, below the root.
    pub(crate) fn prepare(&self, shell: &str) {
        let mut command = Command::new("sh");
        command.args(["-euc", shell]).current_dir(&self.root);
        assert!(command.status().unwrap().success(), "{shell}");
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The command that runs a script of this host.
    pub(crate) fn command(&self, script: &str) -> Command {
        let file = self.directory.join("script");
        fs::write(&file, script).unwrap();
        // A group of its own, so that "everything" is this script and what it started.
        let mut command = Command::new("setsid");
        let path = std::env::var("PATH").unwrap();
        command
            .args(["sh", "-c", EVAL])
            .arg(&file)
            .env("PATH", format!("{}:{path}", self.programs.display()))
            .stdin(Stdio::null())
            .env("AUREON_ROOT", &self.root)
            .env("SCRATCH", &self.directory)
            .env("KILL_COUNT", self.directory.join("count"))
            .env_remove("KILL_AT");
        if let Some((at, how)) = self.kill {
            fs::write(self.directory.join("count"), "0\n").unwrap();
            let programs = self.programs.display();
            command.env(
                "PATH",
                format!("{}:{programs}:{path}", self.killers.display()),
            );
            let how_much = (at % 101 * 37 % 101).to_string();
            command.env("KILL_AT", at.to_string());
            command.env("KILL_HOW", how).env("KILL_TEAR", how_much);
        }
        command
    }

    /// Everything below the root but the audit log: the one thing that outlives an undo.
    pub(crate) fn tree(&self) -> Tree {
        let mut tree = BTreeMap::new();
        walk(&self.root, &self.root, &mut tree);
        tree.remove("/var/log/aureon-operator.log");
        tree.remove("/var/log");
        Tree(tree)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Host for Scratch {
    fn name(&self) -> &str {
        "root@scratch"
    }

    fn run(
        &mut self,
        script: &str,
        input: &mut dyn Read,
        told: &mut dyn FnMut(&str),
    ) -> Result<Answer, HostError> {
        let mut command = self.command(script);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut bytes = Vec::new();
        input.read_to_end(&mut bytes).unwrap();
        // A script that reads nothing may be gone already.
        let _ = child.stdin.take().unwrap().write_all(&bytes);
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let stdout = text(&output.stdout);
        stdout.lines().for_each(told);
        match output.status.code() {
            Some(code) => Ok(Answer {
                code,
                stdout,
                stderr: text(&output.stderr),
            }),
            None => Err(HostError::Lost(stdout)),
        }
    }

    fn run_anew(&mut self, script: &str) -> Result<Answer, HostError> {
        self.run(script, &mut std::io::empty(), &mut |_| {})
    }
}

/// What is at a path: kind, mode, owner, links, content or target; and when it was changed.
#[derive(Clone, PartialEq, Eq)]
struct Entry {
    what: String,
    time: (i64, i64),
}

/// A tree of files, to be compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tree(BTreeMap<String, Entry>);

fn walk(root: &Path, at: &Path, tree: &mut BTreeMap<String, Entry>) {
    let data = fs::symlink_metadata(at).unwrap();
    let kind = data.file_type();
    let mut what = format!("{:o} {}:{}", data.mode(), data.uid(), data.gid());
    if kind.is_symlink() {
        what = format!("link {}", fs::read_link(at).unwrap().display());
    } else if kind.is_file() {
        let content = fs::read(at).unwrap();
        what += &format!(
            " links {} {:?}",
            data.nlink(),
            String::from_utf8_lossy(&content)
        );
    }
    let name = format!("/{}", at.strip_prefix(root).unwrap().display());
    let time = (data.mtime(), data.mtime_nsec());
    tree.insert(name, Entry { what, time });
    if kind.is_dir() {
        for entry in fs::read_dir(at).unwrap() {
            walk(root, &entry.unwrap().path(), tree);
        }
    }
}

impl Tree {
    /// Without what the journal keeps for itself.
    pub(crate) fn hosts_own(&self) -> Self {
        let mut tree = self.0.clone();
        tree.retain(|path, _| !path.starts_with("/var/lib/aureon-operator"));
        Self(tree)
    }

    /// Without that, and without times.
    pub(crate) fn timeless(&self) -> Self {
        let mut tree = self.hosts_own().0;
        tree.values_mut().for_each(|entry| entry.time = (0, 0));
        Self(tree)
    }

    /// Without the time of the directory that our own directory is in: a crash at its very end
    /// leaves nobody who could put it back.
    pub(crate) fn after_a_crash(mut self) -> Self {
        self.0
            .entry("/var/lib".to_owned())
            .and_modify(|entry| entry.time = (0, 0));
        self
    }

    /// What is different from another one, in words; empty when nothing is.
    pub(crate) fn difference(&self, other: &Self) -> String {
        let mut out = String::new();
        let names: std::collections::BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        for name in names {
            let (a, b) = (self.0.get(name), other.0.get(name));
            if a != b {
                out += &format!("{name}:\n  {a:?}\n  {b:?}\n");
            }
        }
        out
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}.{:09}", self.what, self.time.0, self.time.1)
    }
}
