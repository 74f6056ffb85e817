//! Standard output as other processes see it: a pipe or a socket may have two writers.
//!
//! A write of at most `PIPE_BUF` bytes goes into a pipe in whole (pipe(7)), and a socket takes as
//! little in one message. A file or a terminal takes everything at once. Who writes lines asks
//! here in what pieces.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;

/// Bytes that go in whole beside another writer; `usize::MAX` where any number does.
pub fn whole_bytes_max() -> usize {
    let copy = io::stdout().as_fd().try_clone_to_owned();
    let kind = copy.and_then(|copy| Ok(File::from(copy).metadata()?.file_type()));
    match kind.is_ok_and(|kind| kind.is_fifo() || kind.is_socket()) {
        true => libc::PIPE_BUF,
        false => usize::MAX,
    }
}
