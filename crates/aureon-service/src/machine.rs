//! What the machine allows, beside what the configuration asks for: the warnings of `check`.
//!
//! Nothing here keeps a service from starting. Each warning says what will happen and what to
//! type; whoever runs into it at three in the morning should have been able to read it before.

use std::path::Path;
use std::thread;

use aureon::limits::{DESCRIPTORS_KEPT, FILE_CACHE_DESCRIPTORS_MAX};
use aureon::sys::descriptors;
use aureon::sys::process::{self, Access};

use crate::config::Loaded;
use crate::problem::{Place, Problem};
use crate::settings;
use crate::small_file::read_text;
use crate::value::show_digits;

/// Descriptors beside those of connections and of each worker: standard input and outputs, the
/// log, the root, and files that are kept open. For the rest there is `DESCRIPTORS_KEPT`.
const DESCRIPTORS_BESIDE: u64 = 16 + FILE_CACHE_DESCRIPTORS_MAX as u64;

/// Descriptors of a worker beside its listeners: epoll, its waker and one in reserve.
const DESCRIPTORS_OF_WORKER: u64 = 3;

/// What a process may have here.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Files that this process may open: the hard limit, to which it raises the soft one.
    pub descriptors: u64,
    /// Longest queue of connections that the kernel keeps for a listener.
    pub backlog: Option<u64>,
    /// Processors that this process may use.
    pub processors: u64,
}

impl Machine {
    /// This one. What it does not tell is no reason for a warning.
    pub fn here() -> Machine {
        let backlog = read_text("/proc/sys/net/core/somaxconn");
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Machine {
            descriptors: descriptors::hard_max(),
            backlog: backlog.ok().and_then(|text| text.trim_ascii().parse().ok()),
            processors: processors as u64,
        }
    }

    /// What will go otherwise than the configuration sounds.
    pub fn warnings(&self, loaded: &Loaded) -> Vec<Problem> {
        let workers = match loaded.config.workers {
            0 => self.processors,
            workers => workers as u64,
        };
        let mut found = Vec::new();
        found.extend(self.descriptors_warning(loaded, workers));
        found.extend(self.backlog_warning(loaded));
        found.extend(self.workers_warning(loaded, workers));
        found.extend(rotation_warning(loaded));
        found
    }

    fn descriptors_warning(&self, loaded: &Loaded, workers: u64) -> Option<Problem> {
        let connections = loaded.config.limits.connections_max as u64;
        let listeners = loaded.addresses.len() as u64;
        let beside = DESCRIPTORS_BESIDE + workers * (DESCRIPTORS_OF_WORKER + listeners);
        let most = self.descriptors;
        // As the engine reckons, which begins to make room before the last one is gone.
        let short_from = most - (most / 4).min(DESCRIPTORS_KEPT);
        let fit = short_from.saturating_sub(beside);
        if fit >= connections {
            return None;
        }
        let wanted = show_digits(connections + beside + DESCRIPTORS_KEPT);
        let what = [
            "`connections_max` is ",
            &show_digits(connections),
            ", but this process may open ",
            &show_digits(most),
            " files: from about ",
            &show_digits(fit),
            " connections on, who waits longest is closed for each new one",
        ];
        let fix = [
            "have root raise the hard limit to ",
            &wanted,
            " before the start, or write LimitNOFILE=",
            &wanted,
            " in the unit",
        ];
        let place = place_of(loaded, "connections_max");
        Some(Problem::of(place, &what, &fix))
    }

    fn backlog_warning(&self, loaded: &Loaded) -> Option<Problem> {
        let asked = u64::from(loaded.config.limits.backlog);
        let kept = self.backlog.filter(|kept| *kept < asked)?;
        let (asked, kept) = (show_digits(asked), show_digits(kept));
        let what = [
            "`backlog` is ",
            &asked,
            ", but the kernel clips it to ",
            &kept,
        ];
        let fix = ["type sysctl -w net.core.somaxconn=", &asked];
        let place = place_of(loaded, "backlog");
        Some(Problem::of(place, &what, &fix))
    }

    fn workers_warning(&self, loaded: &Loaded, workers: u64) -> Option<Problem> {
        if workers <= self.processors {
            return None;
        }
        let processors = show_digits(self.processors);
        let what = [
            "there are more `workers` than the processors that this process may use, ",
            &processors,
            ": they take turns and gain nothing",
        ];
        let fix = ["write auto, or --workers ", &processors];
        let place = place_of(loaded, "workers");
        Some(Problem::of(place, &what, &fix))
    }
}

fn rotation_warning(loaded: &Loaded) -> Option<Problem> {
    let config = &loaded.config;
    let log = Path::new(&config.log_file);
    if config.log_file.is_empty() || config.log_files_max == 0 || !log.exists() {
        return None;
    }
    process::may(&directory_of(log), Access::Write).err()?;
    let what = "the log can be written but not its directory, so it will not be rotated";
    let fix = "let the user aureond runs as write there, or set log_files_max to 0";
    Some(Problem::of(place_of(loaded, "log_file"), &[what], &[fix]))
}

/// The directory a path lies in.
pub fn directory_of(path: &Path) -> std::path::PathBuf {
    match path.parent() {
        Some(above) if above != Path::new("") => above.to_owned(),
        _ => Path::new(".").to_owned(),
    }
}

/// Where a setting was set.
pub fn place_of(loaded: &Loaded, key: &str) -> Place {
    let place = settings::find(key).and_then(|row| loaded.places.get(row));
    place.cloned().unwrap_or(Place::Default)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Inputs, load};

    const ROOMY: Machine = Machine {
        descriptors: 1 << 20,
        backlog: Some(65_535),
        processors: 1_024,
    };

    fn check(file: &str, machine: Machine, expected: &[&str]) {
        let inputs = Inputs {
            file: Some(("a.toml".to_owned(), file.into())),
            ..Inputs::default()
        };
        let told = machine.warnings(&load(&inputs).unwrap());
        let told: Vec<String> = told.iter().map(ToString::to_string).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn a_machine_with_room_for_all_gets_no_warning() {
        check("", ROOMY, &[]);
        let silent = Machine {
            descriptors: u64::MAX,
            backlog: None,
            ..ROOMY
        };
        check("backlog = 65535\n", silent, &[]);
    }

    #[test]
    fn too_few_descriptors_are_told_with_what_to_type() {
        // 1 worker with 3 and a listener, 80 beside, 256 kept: 340 and 1,000 connections.
        let file = "workers = 1\nlisten = [\"0.0.0.0\"]\nconnections_max = 1000\n";
        let with = |descriptors| Machine {
            descriptors,
            ..ROOMY
        };
        check(file, with(1_340), &[]);
        let told = |most, fit| {
            [
                "a.toml:3:19: `connections_max` is 1000, but this process may open ",
                most,
                " files: from about ",
                fit,
                " connections on, who waits longest is closed for each new one; have root raise \
                 the hard limit to 1340 before the start, or write LimitNOFILE=1340 in the unit",
            ]
            .concat()
        };
        check(file, with(1_339), &[&told("1339", "999")]);
        // Of few a quarter is kept.
        check(file, with(400), &[&told("400", "216")]);
        check(file, with(10), &[&told("10", "0")]);
    }

    #[test]
    fn a_backlog_that_is_clipped_and_workers_that_take_turns_are_told() {
        let small = Machine {
            backlog: Some(4_096),
            processors: 2,
            ..ROOMY
        };
        check("backlog = 4096\nworkers = 2\n", small, &[]);
        check(
            "backlog = 4097\nworkers = 3\n",
            small,
            &[
                "a.toml:1:11: `backlog` is 4097, but the kernel clips it to 4096; type sysctl -w \
                 net.core.somaxconn=4097",
                "a.toml:2:11: there are more `workers` than the processors that this process may \
                 use, 2: they take turns and gain nothing; write auto, or --workers 2",
            ],
        );
    }
}
