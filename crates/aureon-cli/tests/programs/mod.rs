//! Programs that tests make, to be run.
//!
//! They are written by a process of its own: what is open for writing can not be run (execve(2),
//! ETXTBSY), and a child that another test begins meanwhile has it open too, for a moment.

// Each crate of tests needs some of them.
#![allow(dead_code)]

#[cfg(windows)]
use std::fs;
use std::path::Path;
#[cfg(unix)]
use std::process::Command;

/// Writes a script.
#[cfg(unix)]
pub(crate) fn write(path: &Path, text: &str) {
    let mut command = Command::new("sh");
    command.args(["-c", "printf %s \"$1\" >\"$0\" && chmod 755 \"$0\""]);
    assert!(command.arg(path).arg(text).status().unwrap().success());
}

/// Copies a program.
#[cfg(unix)]
pub(crate) fn copy(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    assert!(command.arg(from).arg(to).status().unwrap().success());
}

/// Copies a program. Windows gives a child none of what is open here.
#[cfg(windows)]
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
}
