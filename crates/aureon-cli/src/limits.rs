//! Every bound of the operator, with its unit and its reason.
//!
//! What a host says is kept in memory and what it does not say is waited for: both have an end.
//! Bounds of what runs on the host stand beside the shell that runs there.

use std::time::Duration;

/// Until a connection is there. 20 s: a handshake around the world over a bad line takes five.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Between two questions whether the other side is alive. With [`ALIVE_QUESTIONS_MAX`] a link that
/// is gone is noticed after a minute; the step there goes on without us.
pub const ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Questions that may stay without an answer. 4, so that a minute's outage of Wi-Fi is survived.
pub const ALIVE_QUESTIONS_MAX: u32 = 4;

/// How often a host is asked how a step ended whose connection was lost. 5: with
/// [`RECONNECT_PAUSE`], longer each time, half a minute beside the timeouts of the attempts.
pub const RECONNECTS_MAX: u32 = 5;

/// Before the second of those attempts; before the third twice that, and so on. 3 s.
pub const RECONNECT_PAUSE: Duration = Duration::from_secs(3);

/// How long the shared connection is kept after its last use. 60 s: the steps of one run share it,
/// and nothing stays behind when we were killed.
pub const SHARED_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of a script's standard output that are kept. 16 MiB: recorded facts with every file that
/// a plan looks at are a tenth of it.
pub const OUTPUT_BYTES_MAX: usize = 16 << 20;

/// Bytes of a script's standard error that are kept, the last ones. 64 KiB: a screen is 4.
pub const ERRORS_BYTES_MAX: usize = 64 << 10;

/// How long the client may take to end once the script has. 3 s: two round trips around the world.
pub const END_PATIENCE: Duration = Duration::from_secs(3);

/// How long standard error is waited for once the client has ended. 1 s: it is there already, but a
/// client that stays behind for the shared connection may hold it open.
pub const ERRORS_PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of a line that is shown while it happens. 64 KiB; longer ones are cut into pieces.
pub const LINE_BYTES_MAX: usize = 64 << 10;

/// Bytes of a script. 1 MiB: it travels on one line, which dash holds in memory.
pub const SCRIPT_BYTES_MAX: usize = 1 << 20;

/// Bytes of a file on the host that is compared and shown, in the script of facts. 256 KiB: Nginx's
/// and systemd's are under ten. A longer one is told by its size.
pub const FILE_BYTES_MAX: usize = 256 << 10;

/// Bytes of a recorded host. As many as a script may say.
pub const RECORDED_BYTES_MAX: u64 = OUTPUT_BYTES_MAX as u64;

/// Bytes of `aureon.toml`: as many as aureond reads.
pub const CONFIGURATION_BYTES_MAX: u64 = aureon_service::small_file::BYTES_MAX;

/// Names of one application. 100: as many as Let's Encrypt puts into one certificate.
pub const DOMAINS_MAX: usize = 100;

/// Hosts of `[deploy]`. 100: they are deployed one after the other.
pub const HOSTS_MAX: usize = 100;

/// Bytes of an application's name. 32: what Linux takes as the name of a user.
pub const APP_BYTES_MAX: usize = 32;

/// Bytes of input that are read at once. 64 KiB: what a pipe holds.
pub const PIECE_BYTES: usize = 64 << 10;

/// Lines of the ssh client's that are shown when it failed. 3: its reason is in the last ones.
pub const CLIENT_LINES: usize = 3;

/// Bytes of all values that `aureon env set` reads. 1 MiB: sixteen of the longest.
pub const VALUES_BYTES_MAX: u64 = 1 << 20;

/// Bytes of a value of the environment. 64 KiB: the kernel takes 128 KiB in one string.
pub const VALUE_BYTES_MAX: u64 = 64 << 10;

/// Bytes that are read of a program to see what it is: headers and version symbols. 64 MiB: a Go
/// server with everything in it.
pub const PROGRAM_BYTES_MAX: u64 = 64 << 20;

/// Entries of a table in a program's file that are read. 4096: more than any has, and a made-up
/// file ends here.
pub const ELF_ENTRIES_MAX: usize = 4096;

/// How far the host's clock may be from ours without a word. 60 s: what a certificate's authority
/// allows is about as much.
pub const CLOCK_OFF: Duration = Duration::from_secs(60);

/// Directories that are named when a program was in none of them. 16: as many as a PATH has where
/// nobody counts them.
pub const PLACES_SHOWN: usize = 16;

/// Lines of a step's difference that are shown without `-v`. 24: a plan of ten steps is read, not
/// scrolled past.
pub const DIFFERENCE_LINES: usize = 24;

/// Bytes of a certificate's or key's file. 1 MiB: a chain is 8 KiB.
pub const PEM_BYTES_MAX: u64 = 1 << 20;

/// How long the host's lock is asked for before that is an error. 75 s: a minute of silence, after
/// which the host believes that its holder is gone (`AUREON_PATIENCE`), and a few questions more.
pub const LOCK_WAIT: Duration = Duration::from_secs(75);

/// Pause between two questions for the lock. 3 s: each is a script on the host.
pub const LOCK_PAUSE: Duration = Duration::from_secs(3);

/// Waits for one answer over plain HTTP from this machine: connection, and each read. 10 s, as
/// Let's Encrypt waits.
pub const REACH_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of such an answer. 64 KiB: a page of Cloudflare's is 6.
pub const REACH_BYTES_MAX: u64 = 64 << 10;

/// Times that a name is asked before it does not lead there, and the wait between. 3 and 1 s: an
/// Nginx that has just been told to read its files is done after a tenth of one.
pub const REACH_TRIES: u32 = 3;
/// See [`REACH_TRIES`].
pub const REACH_PAUSE: Duration = Duration::from_secs(1);

/// Lines of the host's that are shown when a step has failed. 30: a screen, with the 20 that a
/// service wrote last.
pub const LAST_LINES: usize = 30;

/// Files of a release. 50,000: the host makes one link for each, about a millisecond.
pub const RELEASE_FILES_MAX: usize = 50_000;

/// Bytes of a release. 4 GiB: an hour over 10 Mbit/s.
pub const RELEASE_BYTES_MAX: u64 = 4 << 30;

/// Bytes of a path within a release. 1,000: with what is before it on the host, a quarter of
/// Linux's PATH_MAX (4,096).
pub const RELEASE_PATH_BYTES_MAX: usize = 1_000;

/// Bytes of a file's name: Linux's NAME_MAX.
pub const RELEASE_NAME_BYTES_MAX: usize = 255;

/// Directories in directories. 64: a link that leads upwards ends here at the latest.
pub const RELEASE_DEPTH_MAX: usize = 64;

/// Names that are told of what was left out. 100: a person reads no more.
pub const RELEASE_LEFT_OUT_MAX: usize = 100;

/// Bytes of the disk that stay free. 64 MiB: the journal and logs go on.
pub const DISK_SPARE_BYTES: u64 = 64 << 20;
