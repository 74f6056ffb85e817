//! A file that the access log goes to: bounded in size and number, never with half a line.
//!
//! Only the log's writing thread comes here. What it brings are whole lines; a file that would
//! grow beyond its bound is renamed to `NAME.1`, what was `NAME.1` to `NAME.2` and so on, and a
//! new one is begun. A write that fails midway is taken back, so that a full disk costs lines
//! and tears none. Asked to reopen, it opens the name again, for whoever rotates by himself.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The file, and the old ones behind it.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    /// None when it could not be opened again; every write tries.
    file: Option<File>,
    bytes: u64,
    bytes_max: u64,
    files_max: u64,
    reopen: Arc<AtomicBool>,
}

impl LogFile {
    /// Opens a file to append to. `files_max` counts the old ones that are kept.
    pub fn open(path: &Path, bytes_max: u64, files_max: u64) -> io::Result<LogFile> {
        let mut log = LogFile {
            path: path.to_path_buf(),
            file: None,
            bytes: 0,
            bytes_max,
            files_max,
            reopen: Arc::new(AtomicBool::new(false)),
        };
        log.file()?;
        Ok(log)
    }

    /// Set to true by whoever wants the name opened again before the next line.
    pub fn reopen_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.reopen)
    }

    fn file(&mut self) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let file = OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(&self.path)?;
                self.bytes = file.metadata()?.len();
                file
            }
        };
        Ok(self.file.insert(file))
    }

    fn old(&self, number: u64) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(crate::value::show_digits(number));
        name.into()
    }

    /// Frees the name for a new file. What is not there need not be moved: not every number is
    /// taken, and whoever rotates by himself may have come first.
    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        let present = |result: io::Result<()>| match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        if self.files_max == 0 {
            return present(fs::remove_file(&self.path));
        }
        for number in (1..self.files_max).rev() {
            present(fs::rename(self.old(number), self.old(number + 1)))?;
        }
        present(fs::rename(&self.path, self.old(1)))
    }

    /// Writes whole lines, or none of them.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let file = self.file()?;
        let mut written = 0;
        while written < lines.len() {
            match file.write(&lines[written..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) => return self.take_back(written, io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) => return self.take_back(written, error),
            }
        }
        self.bytes += lines.len() as u64;
        Ok(())
    }

    /// Takes back what a write has left of a line, which would run into the next one. It is cut
    /// from the end, wherever that is: somebody may have emptied the file meanwhile.
    fn take_back(&mut self, written: usize, error: io::Error) -> io::Result<()> {
        if let (Some(file), 1..) = (self.file.take(), written) {
            let end = file.metadata().map(|metadata| metadata.len());
            // If this fails too, the line stays torn; there is nothing else to try.
            drop(end.and_then(|end| file.set_len(end.saturating_sub(written as u64))));
        }
        Err(error)
    }
}

impl Write for LogFile {
    /// Takes all of `lines` or, when it fails, as many as went into earlier files.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        if self.reopen.swap(false, Ordering::AcqRel) {
            self.file = None;
        }
        self.file()?;
        let room = self.bytes_max.saturating_sub(self.bytes);
        let fits = usize::try_from(room).unwrap_or(usize::MAX);
        if lines.len() <= fits {
            self.append(lines)?;
            return Ok(lines.len());
        }
        let end = lines[..fits].iter().rposition(|byte| *byte == b'\n');
        let first = lines.iter().position(|byte| *byte == b'\n');
        match (end, first) {
            (Some(end), _) => {
                self.append(&lines[..=end])?;
                Ok(end + 1)
            }
            // Not one line fits: the next file begins, with at least one whatever its length.
            (None, first) => {
                if self.bytes > 0 {
                    self.rotate()?;
                }
                let end = first.map_or(lines.len(), |end| end + 1);
                self.append(&lines[..end])?;
                Ok(end)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Directory {
            let name = format!("aureon-log-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            drop(fs::remove_dir_all(&path));
            fs::create_dir(&path).unwrap();
            Directory(path)
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.0.join(name)).unwrap_or_default()
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn lines(range: std::ops::Range<usize>) -> Vec<u8> {
        range
            .flat_map(|number| format!("line {number:04}\n").into_bytes())
            .collect()
    }

    #[test]
    fn files_are_bounded_in_size_and_number_and_no_line_is_lost_or_torn() {
        let directory = Directory::new("rotate");
        let path = directory.0.join("log");
        let mut log = LogFile::open(&path, 100, 3).unwrap();
        // Ten bytes a line, in pieces that do not fit the files.
        for start in (0..38).step_by(19) {
            log.write_all(&lines(start..start + 19)).unwrap();
        }
        let all: String = ["log.3", "log.2", "log.1", "log"]
            .iter()
            .map(|name| {
                let text = directory.read(name);
                assert!(text.len() <= 100 && text.ends_with('\n'), "{name}: {text}");
                text
            })
            .collect();
        assert_eq!(all.as_bytes(), lines(0..38));
        log.write_all(&lines(38..70)).unwrap();
        assert_eq!(directory.read("log.4"), "", "the oldest is gone");
        assert!(directory.read("log").ends_with("line 0069\n"));
        assert!(directory.read("log.3").starts_with("line 00"));
    }

    #[test]
    fn a_file_goes_on_where_an_earlier_process_ended() {
        let directory = Directory::new("append");
        let path = directory.0.join("log");
        LogFile::open(&path, 100, 1)
            .unwrap()
            .write_all(&lines(0..9))
            .unwrap();
        let mut log = LogFile::open(&path, 100, 1).unwrap();
        log.write_all(&lines(9..11)).unwrap();
        assert_eq!(directory.read("log.1").as_bytes(), lines(0..10));
        assert_eq!(directory.read("log").as_bytes(), lines(10..11));
    }

    #[test]
    fn a_line_longer_than_a_file_has_one_of_its_own() {
        let directory = Directory::new("long");
        let path = directory.0.join("log");
        let mut log = LogFile::open(&path, 16, 9).unwrap();
        let long = [&[b'x'; 50][..], b"\n"].concat();
        log.write_all(&[&lines(0..1)[..], &long, &lines(1..2)].concat())
            .unwrap();
        assert_eq!(directory.read("log.2").as_bytes(), lines(0..1));
        assert_eq!(directory.read("log.1").as_bytes(), long);
        assert_eq!(directory.read("log").as_bytes(), lines(1..2));
    }

    #[test]
    fn a_file_that_was_moved_away_is_left_alone_until_it_is_reopened() {
        let directory = Directory::new("reopen");
        let path = directory.0.join("log");
        let mut log = LogFile::open(&path, 1_000, 1).unwrap();
        log.write_all(&lines(0..1)).unwrap();
        fs::rename(&path, directory.0.join("moved")).unwrap();
        log.write_all(&lines(1..2)).unwrap();
        log.reopen_flag().store(true, Ordering::Release);
        log.write_all(&lines(2..3)).unwrap();
        assert_eq!(directory.read("moved").as_bytes(), lines(0..2));
        assert_eq!(directory.read("log").as_bytes(), lines(2..3));
    }

    #[test]
    fn a_full_file_that_was_moved_away_costs_no_line() {
        for files_max in [0, 2] {
            let directory = Directory::new("moved");
            let path = directory.0.join("log");
            let mut log = LogFile::open(&path, 20, files_max).unwrap();
            log.write_all(&lines(0..2)).unwrap();
            // Whoever rotates by himself came first, and has not said so yet.
            fs::rename(&path, directory.0.join("away")).unwrap();
            log.write_all(&lines(2..3)).unwrap();
            assert_eq!(directory.read("away").as_bytes(), lines(0..2));
            assert_eq!(directory.read("log").as_bytes(), lines(2..3));
        }
    }
}
