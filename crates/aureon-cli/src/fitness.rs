//! Whether a program of this machine runs on the host: found out before anything is touched there.
//!
//! Reads of an ELF file (System V ABI, "Object Files") what the host's loader would: machine,
//! interpreter, and the newest version of glibc's symbols that it asks for. Total: any bytes are a
//! program, or a sentence about what they are instead. Nothing is run.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::facts::Facts;
use crate::limits;
use crate::plan::Refusal;

/// What the loader will ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// As `uname -m` says it.
    pub machine: String,
    /// The dynamic loader; nothing for a static program.
    pub interpreter: Option<String>,
    /// The newest glibc symbols that it needs.
    pub glibc: Option<Version>,
}

/// `2.36`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u32, u32);

impl Version {
    /// Of `2.36` or `2.2.5`; what comes third plays no part.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| part.parse().ok());
        Some(Self(parts.next()??, parts.next()??))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A program of Linux, or of another system with ELF.
    Elf(Program),
    /// A script: `#!` and this interpreter.
    Script(String),
    /// Something else, and what.
    Other(&'static str),
}

/// Machines by their number in ELF and by their name on a host.
const MACHINES: &[(u16, &str)] = &[
    (3, "i686"),
    (21, "ppc64le"),
    (22, "s390x"),
    (40, "armv7l"),
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv64"),
    (258, "loongarch64"),
];

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_STRTAB: u64 = 5;
const DT_VERNEED: u64 = 0x6fff_fffe;

/// Reads the file and says what it is.
///
/// # Errors
/// It can not be read.
pub fn read(path: &Path) -> io::Result<Kind> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(limits::PROGRAM_BYTES_MAX)
        .read_to_end(&mut bytes)?;
    Ok(parse_kind(&bytes))
}

/// Says what the bytes are.
#[must_use]
pub fn parse_kind(bytes: &[u8]) -> Kind {
    match bytes {
        [0x7f, b'E', b'L', b'F', ..] => {
            let program = Elf::new(bytes).and_then(|elf| elf.program());
            program.map_or(Kind::Other("a damaged ELF file"), Kind::Elf)
        }
        [b'#', b'!', rest @ ..] => {
            let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let line = String::from_utf8_lossy(&line[..line.len().min(256)]);
            Kind::Script(line.trim().to_owned())
        }
        [b'M', b'Z', ..] => Kind::Other("a program for Windows"),
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] | [0xca, 0xfe, 0xba, 0xbe, ..] => {
            Kind::Other("a program for macOS")
        }
        _ => Kind::Other("no program"),
    }
}

struct Elf<'a> {
    bytes: &'a [u8],
    wide: bool,
    big: bool,
    /// Type, offset, address, size in the file.
    segments: Vec<[u64; 4]>,
}

impl<'a> Elf<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let mut elf = Elf {
            bytes,
            wide: *bytes.get(4)? == 2,
            big: *bytes.get(5)? == 2,
            segments: Vec::new(),
        };
        let (table, size, count) = match elf.wide {
            true => (elf.number(32, 8)?, elf.number(54, 2)?, elf.number(56, 2)?),
            false => (elf.number(28, 4)?, elf.number(42, 2)?, elf.number(44, 2)?),
        };
        for at in 0..count.min(limits::ELF_ENTRIES_MAX as u64) {
            let at = table.checked_add(at.checked_mul(size)?)?;
            let field = |offset: u64, length| elf.number(at.checked_add(offset)?, length);
            let segment = match elf.wide {
                true => [field(0, 4)?, field(8, 8)?, field(16, 8)?, field(32, 8)?],
                false => [field(0, 4)?, field(4, 4)?, field(8, 4)?, field(16, 4)?],
            };
            elf.segments.push(segment);
        }
        Some(elf)
    }

    /// An unsigned number of so many bytes.
    fn number(&self, at: u64, length: usize) -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let bytes = self.bytes.get(at..at.checked_add(length)?)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(match self.big {
            true => bytes.iter().fold(0, add),
            false => bytes.iter().rev().fold(0, add),
        })
    }

    /// The bytes from here to the next zero.
    fn text(&self, at: u64) -> Option<String> {
        let bytes = self.bytes.get(usize::try_from(at).ok()?..)?;
        let end = bytes
            .iter()
            .take(limits::ELF_ENTRIES_MAX)
            .position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    fn segment(&self, kind: u64) -> Option<&[u64; 4]> {
        self.segments.iter().find(|segment| segment[0] == kind)
    }

    /// Where in the file lies what is loaded at this address.
    fn offset(&self, address: u64) -> Option<u64> {
        let holds = |one: &&[u64; 4]| {
            one[0] == PT_LOAD
                && address
                    .checked_sub(one[2])
                    .is_some_and(|into| into < one[3])
        };
        let [_, offset, start, _] = self.segments.iter().find(holds)?;
        offset.checked_add(address - start)
    }

    fn program(&self) -> Option<Program> {
        let machine = u16::try_from(self.number(18, 2)?).ok()?;
        let known = MACHINES.iter().find(|(number, _)| *number == machine);
        let machine = known.map_or_else(|| format!("machine {machine}"), |one| one.1.to_owned());
        let interpreter = match self.segment(PT_INTERP) {
            Some(segment) => Some(self.text(segment[1])?),
            None => None,
        };
        Some(Program {
            machine,
            interpreter,
            glibc: self.glibc(),
        })
    }

    /// The newest `GLIBC_…` of the versions that are needed: a list of lists, each linked by
    /// distances ("Symbol Versioning" of the LSB).
    fn glibc(&self) -> Option<Version> {
        let [_, table, _, size] = self.segment(PT_DYNAMIC)?;
        let word = if self.wide { 8 } else { 4 };
        let entries = (size / (2 * word as u64)).min(limits::ELF_ENTRIES_MAX as u64);
        let value = |wanted: u64| {
            (0..entries).find_map(|at| {
                let at = table.checked_add(at * 2 * word as u64)?;
                let found = self.number(at, word)? == wanted;
                found.then(|| self.number(at + word as u64, word))?
            })
        };
        let strings = self.offset(value(DT_STRTAB)?)?;
        let mut need = self.offset(value(DT_VERNEED)?)?;
        let mut newest = None;
        for _ in 0..limits::ELF_ENTRIES_MAX {
            let mut one = need.checked_add(self.number(need.checked_add(8)?, 4)?)?;
            for _ in 0..self.number(need.checked_add(2)?, 2)? {
                let name = self.number(one.checked_add(8)?, 4)?;
                let name = self.text(strings.checked_add(name)?)?;
                let version = name.strip_prefix("GLIBC_").and_then(Version::parse);
                newest = newest.max(version);
                one = one.checked_add(self.number(one.checked_add(12)?, 4)?)?;
            }
            match self.number(need.checked_add(12)?, 4)? {
                0 => break,
                next => need = need.checked_add(next)?,
            }
        }
        newest
    }
}

/// Whether the host can run it. `shown` is the file as the user knows it; `alone` is asked of a
/// program that has to run anywhere: then it is static.
///
/// # Errors
/// It can not, and why.
pub fn check(shown: &str, kind: &Kind, facts: &Facts, alone: bool) -> Result<(), Refusal> {
    let refuse = |id: &str, cause: String, fix: String| {
        let (id, cause) = (format!("program/{id}"), format!("{shown} {cause}"));
        Err(Refusal { id, cause, fix })
    };
    let target = format!("build it for Linux on {}", facts.architecture);
    let program = match kind {
        Kind::Elf(program) => program,
        Kind::Script(_) if !alone => return Ok(()),
        Kind::Script(line) => {
            return refuse("kind", format!("is a script for {line}"), target);
        }
        Kind::Other(what) => return refuse("kind", format!("is {what}"), target),
    };
    if program.machine != facts.architecture && !is_older_sibling(program, facts) {
        let (machine, host) = (&program.machine, &facts.architecture);
        return refuse(
            "machine",
            format!("is for {machine}, and the host is {host}"),
            target,
        );
    }
    let Some(interpreter) = &program.interpreter else {
        return Ok(());
    };
    if alone {
        let cause = format!("needs {interpreter} on the host");
        return refuse(
            "static",
            cause,
            "take the static one: scripts/dist".to_owned(),
        );
    }
    if interpreter.contains("ld-musl") {
        let cause = format!("needs {interpreter}, which the host does not have");
        let fix = "link it statically: for Rust the target *-linux-musl does that, for C -static";
        return refuse("musl", cause, fix.to_owned());
    }
    let host = Version::parse(&facts.glibc);
    match (program.glibc, host) {
        (Some(needed), Some(there)) if needed > there => {
            let cause = format!("needs glibc {needed}, and the host has {there}");
            let fix = format!(
                "link it statically, or build it where glibc is {there} or older, such as in a \
                 container of {} {}",
                facts.system, facts.system_version
            );
            refuse("glibc", cause, fix)
        }
        _ => Ok(()),
    }
}

/// A static program of 32 bits runs on a kernel of 64.
fn is_older_sibling(program: &Program, facts: &Facts) -> bool {
    let pair = (program.machine.as_str(), facts.architecture.as_str());
    program.interpreter.is_none() && pair == ("i686", "x86_64")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            system: "debian".into(),
            system_version: "12".into(),
            architecture: "x86_64".into(),
            glibc: "2.36".into(),
            ..Facts::default()
        }
    }

    fn program(machine: &str, interpreter: &str, glibc: Option<Version>) -> Kind {
        Kind::Elf(Program {
            machine: machine.into(),
            interpreter: (!interpreter.is_empty()).then(|| interpreter.to_owned()),
            glibc,
        })
    }

    fn refused(kind: &Kind, alone: bool) -> String {
        match check("./server", kind, &facts(), alone) {
            Ok(()) => String::new(),
            Err(refusal) => format!("{}: {}", refusal.id, refusal.cause),
        }
    }

    #[test]
    fn what_the_host_can_not_run_is_named() {
        let loader = "/lib64/ld-linux-x86-64.so.2";
        let check = |kind: &Kind, alone, expected: &str| assert_eq!(refused(kind, alone), expected);
        check(&program("x86_64", "", None), true, "");
        check(&program("i686", "", None), true, "");
        check(&program("x86_64", loader, Some(Version(2, 36))), false, "");
        check(&Kind::Script("/usr/bin/env node".into()), false, "");
        check(
            &program("aarch64", "", None),
            true,
            "program/machine: ./server is for aarch64, and the host is x86_64",
        );
        check(
            &program("x86_64", loader, None),
            true,
            "program/static: ./server needs /lib64/ld-linux-x86-64.so.2 on the host",
        );
        check(
            &program("x86_64", loader, Some(Version(2, 39))),
            false,
            "program/glibc: ./server needs glibc 2.39, and the host has 2.36",
        );
        check(
            &program("x86_64", "/lib/ld-musl-x86_64.so.1", None),
            false,
            "program/musl: ./server needs /lib/ld-musl-x86_64.so.1, which the host does not have",
        );
        check(
            &Kind::Other("a program for macOS"),
            false,
            "program/kind: ./server is a program for macOS",
        );
        assert!(Version(2, 9) < Version(2, 36), "numbers and not letters");
    }

    #[test]
    fn reads_this_very_program() {
        // On Linux it is one that names its loader and glibc, elsewhere no ELF at all.
        let own = std::env::current_exe().unwrap();
        match (read(&own).unwrap(), std::env::consts::OS) {
            (Kind::Elf(program), "linux") => {
                assert_eq!(program.machine, std::env::consts::ARCH);
                assert!(program.interpreter.unwrap().contains("ld-linux"));
                assert!(program.glibc.unwrap() >= Version(2, 17));
            }
            (Kind::Other(what), system) => assert!(what.starts_with("a program"), "{system}"),
            found => panic!("{found:?}"),
        }
    }

    #[test]
    fn any_bytes_are_something() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let mut head = own[..own.len().min(64 << 10)].to_vec();
        // Each byte of the headers wrong in turn, and the file cut everywhere.
        for at in 0..1024 {
            let right = head[at];
            for wrong in [0, 1, 0x7f, 0xff] {
                head[at] = wrong;
                let _ = parse_kind(&head);
            }
            head[at] = right;
            let _ = parse_kind(&head[..at]);
        }
        assert_eq!(parse_kind(b""), Kind::Other("no program"));
        assert_eq!(parse_kind(b"\x7fELF"), Kind::Other("a damaged ELF file"));
        assert_eq!(parse_kind(b"MZ..."), Kind::Other("a program for Windows"));
        assert_eq!(
            parse_kind(b"#!/bin/sh -e\nx"),
            Kind::Script("/bin/sh -e".into())
        );
    }
}
