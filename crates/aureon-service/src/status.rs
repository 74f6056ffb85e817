//! What a running service says of itself at a glance, for people and for machines.
//!
//! Made on the admin listener from the same families of metrics that `/metrics` tells, so that
//! the two never disagree.

use std::process;

use crate::admin::Admin;
use crate::json::{List, Object, write_number};
use crate::metrics::{Process, Sources};
use crate::value::show_digits;
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
        let pid = show_digits(u64::from(process::id()));
        let state = self.admin.sources.health.state().name();
        let (version, up) = (env!("CARGO_PKG_VERSION"), show_seconds(self.uptime_s));
        lines.add(
            "aureond",
            &[version, ", ", state, ", process ", &pid, ", up ", &up],
        );
        lines.add("listening", &[&self.admin.addresses.join(", ")]);
        self.write_traffic(&mut lines);
        self.write_machine(&mut lines);
        lines.0
    }

    fn write_traffic(&self, lines: &mut Lines) {
        let (snapshot, count) = (&self.snapshot, show_digits);
        let accepted = count(snapshot.connections_accepted);
        let open = count(snapshot.connections_open());
        let states = snapshot.connections.iter();
        let states = list(
            &mut states.map(|(state, number)| (*number, state.name())),
            ": ",
        );
        lines.add(
            "connections",
            &[&accepted, " accepted, ", &open, " open", &states],
        );
        let (answered, active) = (snapshot.exchanges(), snapshot.requests_active());
        let (failures, refusals) = (count(self.failures()), count(self.refusals()));
        let (answered, active) = (count(answered), count(active));
        let parts = [&answered, " answered, ", &failures, " of them 5xx, "];
        let rest = [&active, " under way, ", &refusals, " refused"];
        lines.add(
            "requests",
            &[parts.concat(), rest.concat()]
                .each_ref()
                .map(String::as_str),
        );
        let limits = snapshot.limits.iter();
        let hit = list(
            &mut limits.map(|(limit, number)| (*number, limit.name())),
            "",
        );
        lines.add("limits hit", &[if hit.is_empty() { "none" } else { &hit }]);
    }

    fn write_machine(&self, lines: &mut Lines) {
        let count = show_digits;
        let workers = &self.snapshot.workers;
        let busy_us: u64 = workers.iter().map(|worker| worker.busy_us).sum();
        let workers = workers.len().max(1) as u64;
        let per_mille = busy_us / 1_000 / self.uptime_s.max(1) / workers;
        let (whole, tenth) = (count(per_mille / 10), count(per_mille % 10));
        let workers = count(workers);
        lines.add(
            "workers",
            &[&workers, ", busy ", &whole, ".", &tenth, "% of the time"],
        );
        let process = &self.process;
        if let (Some(resident), Some(open), Some(max)) =
            (process.resident_bytes, process.open_fds, process.max_fds)
        {
            let (kib, open, max) = (count(resident >> 10), count(open), count(max));
            lines.add("memory", &[&kib, " KiB"]);
            lines.add("descriptors", &[&open, " of ", &max]);
        }
        let lost = count(self.admin.sources.log.lost());
        let level = self.admin.policy.level().name();
        lines.add("log", &["level ", level, ", ", &lost, " lines lost"]);
    }
}

/// Lines with their names in a column of their own.
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, parts: &[&str]) {
        self.0.push_str(name);
        self.0
            .push_str(&" ".repeat(13usize.saturating_sub(name.len())));
        parts.iter().for_each(|part| self.0.push_str(part));
        self.0.push('\n');
    }
}

/// `3 idle, 1 sending`, after `before`; nothing when all are zero.
fn list(counts: &mut dyn Iterator<Item = (u64, &'static str)>, before: &str) -> String {
    let mut out = String::new();
    for (number, name) in counts.filter(|(number, _)| *number > 0) {
        out.push_str(if out.is_empty() { before } else { ", " });
        out.push_str(&show_digits(number));
        out.push(' ');
        out.push_str(name);
    }
    out
}

/// `3d 4h`, `5m 6s`: the two largest units.
fn show_seconds(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let first = units.iter().position(|(_, of)| seconds >= *of).unwrap_or(3);
    let mut out = String::new();
    let mut rest = seconds;
    for (unit, of) in units.iter().skip(first).take(2) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&show_digits(rest / of));
        out.push_str(unit);
        rest %= of;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_its_two_largest_units() {
        assert_eq!(show_seconds(0), "0s");
        assert_eq!(show_seconds(59), "59s");
        assert_eq!(show_seconds(61), "1m 1s");
        assert_eq!(show_seconds(3 * 86_400 + 3_600 * 4 + 59), "3d 4h");
    }
}
