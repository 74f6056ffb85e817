//! What a running service says of itself at a glance, for people and for machines.
//!
//! Made on the admin listener from the same families of metrics that `/metrics` tells, so that
//! the two never disagree.

use std::process;

use crate::admin::Admin;
use crate::help::push_blanks;
use crate::json::{List, Object, write_number};
use crate::metrics::{Process, Sources};
use crate::value::push_digits;
use aureon::metrics::{BUCKETS_US, Snapshot};

/// A look at the service.
pub struct Report<'a> {
    admin: &'a Admin,
    snapshot: Snapshot,
    process: Process,
    uptime_s: u64,
}

impl<'a> Report<'a> {
    /// Looks.
    pub fn new(admin: &'a Admin) -> Report<'a> {
        let Sources { meter, started, .. } = &admin.sources;
        Report {
            admin,
            snapshot: meter.snapshot(),
            process: Process::read(),
            uptime_s: started.elapsed().as_secs(),
        }
    }

    fn failures(&self) -> u64 {
        let failed = self.snapshot.series.iter();
        let failed = failed.filter(|series| series.of.is_some_and(|(_, status)| status >= 500));
        failed.map(aureon::metrics::Series::count).sum()
    }

    fn refusals(&self) -> u64 {
        self.snapshot.refusals.iter().map(|(_, count)| count).sum()
    }

    /// How many exchanges took how long: a number for each of the bounds that `/metrics` has, in
    /// their order, and one for what took longer; none is counted in two.
    fn durations(&self) -> Vec<u8> {
        let mut list = List::default();
        for at in 0..=BUCKETS_US.len() {
            let series = self.snapshot.series.iter();
            let sum: u64 = series.filter_map(|series| series.buckets.get(at)).sum();
            write_number(list.element(), sum);
        }
        list.end()
    }

    /// One JSON object.
    pub fn write_json(&self) -> Vec<u8> {
        let mut addresses = List::default();
        for address in self.admin.addresses.iter() {
            addresses.string(address);
        }
        let named = |pairs: &mut dyn Iterator<Item = (&'static str, u64)>| {
            let mut out = Vec::new();
            let mut object = Object::new(&mut out);
            for (name, count) in pairs {
                object.number(name, count);
            }
            object.end();
            out
        };
        let snapshot = &self.snapshot;
        let states = snapshot.connections.iter();
        let states = named(&mut states.map(|(state, count)| (state.name(), *count)));
        let limits = snapshot.limits.iter().filter(|(_, count)| *count > 0);
        let limits = named(&mut limits.map(|(limit, count)| (limit.name(), *count)));
        let cut = snapshot.exchanges_cut.iter();
        let cut = named(&mut cut.map(|(ending, count)| (ending.name(), *count)));
        let mut out = Vec::new();
        let mut object = Object::new(&mut out);
        object.string("state", self.admin.sources.health.state().name());
        object.string("version", env!("CARGO_PKG_VERSION"));
        object.number("pid", u64::from(process::id()));
        object.number("uptime", self.uptime_s);
        object.raw("addresses", &addresses.end());
        object.number("workers", snapshot.workers.len() as u64);
        object.number("exchanges", snapshot.exchanges());
        object.number("failures", self.failures());
        object.number("refusals", self.refusals());
        object.number("active", snapshot.requests_active());
        object.number("accepted", snapshot.connections_accepted);
        object.number("shed", snapshot.connections_shed);
        object.raw("connections", &states);
        object.raw("limits_hit", &limits);
        object.raw("exchanges_cut", &cut);
        object.raw("durations", &self.durations());
        object.number("sent_bytes", snapshot.sent_bytes);
        for (name, value) in [
            ("resident_bytes", self.process.resident_bytes),
            ("open_fds", self.process.open_fds),
            ("max_fds", self.process.max_fds),
        ] {
            if let Some(value) = value {
                object.number(name, value);
            }
        }
        object.string("log_level", self.admin.policy.level().name());
        object.number("log_lines_lost", self.admin.sources.log.lost());
        object.end();
        out.push(b'\n');
        out
    }

    /// Some lines for people.
    pub fn write_text(&self) -> String {
        let mut lines = Lines(String::new());
        lines.begin("aureond");
        lines.text(env!("CARGO_PKG_VERSION"));
        lines.text(", ");
        lines.text(self.admin.sources.health.state().name());
        lines.number(", process ", u64::from(process::id()));
        lines.text(", up ");
        lines.seconds(self.uptime_s);
        lines.begin("listening");
        for (at, address) in self.admin.addresses.iter().enumerate() {
            lines.text(if at == 0 { "" } else { ", " });
            lines.text(address);
        }
        self.write_traffic(&mut lines);
        self.write_machine(&mut lines);
        lines.0.push('\n');
        lines.0
    }

    fn write_traffic(&self, lines: &mut Lines) {
        let snapshot = &self.snapshot;
        lines.begin("connections");
        lines.number("", snapshot.connections_accepted);
        lines.number(" accepted, ", snapshot.connections_open());
        lines.text(" open");
        let states = snapshot.connections.iter();
        let mut states = states.map(|(state, number)| (*number, state.name()));
        lines.list(&mut states, ": ", "");
        lines.begin("requests");
        lines.number("", snapshot.exchanges());
        lines.number(" answered, ", self.failures());
        lines.number(" of them 5xx, ", snapshot.requests_active());
        lines.number(" under way, ", self.refusals());
        lines.text(" refused");
        lines.begin("limits hit");
        let limits = snapshot.limits.iter();
        let mut limits = limits.map(|(limit, number)| (*number, limit.name()));
        lines.list(&mut limits, "", "none");
    }

    fn write_machine(&self, lines: &mut Lines) {
        let workers = &self.snapshot.workers;
        let busy_us: u64 = workers.iter().map(|worker| worker.busy_us).sum();
        let workers = workers.len().max(1) as u64;
        let per_mille = busy_us / 1_000 / self.uptime_s.max(1) / workers;
        lines.begin("workers");
        lines.number("", workers);
        lines.number(", busy ", per_mille / 10);
        lines.number(".", per_mille % 10);
        lines.text("% of the time");
        let process = &self.process;
        if let (Some(resident), Some(open), Some(max)) =
            (process.resident_bytes, process.open_fds, process.max_fds)
        {
            lines.begin("memory");
            lines.number("", resident >> 10);
            lines.text(" KiB");
            lines.begin("descriptors");
            lines.number("", open);
            lines.number(" of ", max);
        }
        lines.begin("log");
        lines.text("level ");
        lines.text(self.admin.policy.level().name());
        lines.number(", ", self.admin.sources.log.lost());
        lines.text(" lines lost");
    }
}

/// Lines with their names in a column of their own.
struct Lines(String);

impl Lines {
    /// Begins a line, with the end of the one before.
    fn begin(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(name);
        push_blanks(&mut self.0, 13_usize.saturating_sub(name.len()));
    }

    fn text(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// A number, and what stands before it.
    fn number(&mut self, before: &str, number: u64) {
        self.0.push_str(before);
        push_digits(&mut self.0, number);
    }

    /// `3 idle, 1 sending`, after `before`; `none` when all are zero.
    fn list(
        &mut self,
        counts: &mut dyn Iterator<Item = (u64, &'static str)>,
        before: &str,
        none: &str,
    ) {
        let mut separator = before;
        let mut empty = true;
        for (number, name) in counts {
            if number > 0 {
                self.number(separator, number);
                self.text(" ");
                self.text(name);
                separator = ", ";
                empty = false;
            }
        }
        if empty {
            self.text(none);
        }
    }

    /// `3d 4h`, `5m 6s`: the two largest units.
    fn seconds(&mut self, seconds: u64) {
        let (large, small, of, in_small) = match seconds {
            86_400.. => ("d", "h", 86_400, 3_600),
            3_600.. => ("h", "m", 3_600, 60),
            60.. => ("m", "s", 60, 1),
            _ => {
                self.number("", seconds);
                return self.text("s");
            }
        };
        self.number("", seconds / of);
        self.text(large);
        self.number(" ", seconds % of / in_small);
        self.text(small);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_its_two_largest_units() {
        let check = |seconds: u64, shown: &str| {
            let mut lines = Lines(String::new());
            lines.seconds(seconds);
            assert_eq!(lines.0, shown);
        };
        check(0, "0s");
        check(59, "59s");
        check(61, "1m 1s");
        check(3 * 86_400 + 3_600 * 4 + 59, "3d 4h");
    }

    #[test]
    fn what_is_zero_is_not_listed() {
        let check = |counts: [u64; 2], shown: &str| {
            let mut lines = Lines(String::new());
            let mut counts = counts.into_iter().zip(["idle", "sending"]);
            lines.list(&mut counts, ": ", "none");
            assert_eq!(lines.0, shown);
        };
        check([0, 0], "none");
        check([0, 1], ": 1 sending");
        check([3, 1], ": 3 idle, 1 sending");
    }
}
