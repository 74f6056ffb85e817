//! What was counted on the host while a release was switched.
//!
//! The step of the switch prints lines that begin with `receipt`; aureond counts exchanges itself,
//! before and after, and once more when its old process has ended, so that nothing between two
//! readings is lost. For another program the lines are counted that Nginx wrote into its log
//! meanwhile, for all its sites; when that can not be done, the receipt says why. Kept on the host
//! beside the release, and shown at the end of a deploy.

use std::fmt::Write;

use aureon::metrics::BUCKETS_US;
use serde::{Deserialize, Serialize};

use crate::plan::shell::{here_document, word};

/// What one process has counted since it began; aureond's `status --json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Its process.
    pub pid: u32,
    /// Requests that were answered, or cut.
    pub exchanges: u64,
    /// Of them by 5xx.
    pub failures: u64,
    /// Connections that were closed at once for want of room.
    pub shed: u64,
    /// Answers that were not whole, by how that came.
    pub exchanges_cut: std::collections::BTreeMap<String, u64>,
    /// Exchanges by duration, in [`BUCKETS_US`]'s order.
    pub durations: Vec<u64>,
}

/// Ways in which an answer is cut by us. That the client went away is its own affair.
const CUT_BY_US: [&str; 3] = ["write-stalled", "source-failed", "cut-off"];

impl Counters {
    fn cut(&self) -> u64 {
        let by_us = CUT_BY_US
            .iter()
            .filter_map(|how| self.exchanges_cut.get(*how));
        by_us.sum()
    }

    /// The bound in microseconds below which 99 of 100 exchanges were over; nothing without
    /// exchanges, or when they took longer than every bound.
    #[must_use]
    pub fn p99_us(&self) -> Option<u64> {
        let all: u64 = self.durations.iter().sum();
        let mut sum = 0;
        let reached = self.durations.iter().position(|count| {
            sum += count;
            all > 0 && sum * 100 >= all * 99
        });
        BUCKETS_US.get(reached?).copied()
    }

    /// What came on top of `earlier`, which the same process had counted.
    fn since(&self, earlier: &Counters) -> Counters {
        let minus = |now: u64, then: u64| now.saturating_sub(then);
        let at = |list: &[u64], at: usize| list.get(at).copied().unwrap_or(0);
        Counters {
            pid: self.pid,
            exchanges: minus(self.exchanges, earlier.exchanges),
            failures: minus(self.failures, earlier.failures),
            shed: minus(self.shed, earlier.shed),
            exchanges_cut: self
                .exchanges_cut
                .iter()
                .map(|(how, now)| {
                    let then = earlier.exchanges_cut.get(how).copied().unwrap_or(0);
                    (how.clone(), minus(*now, then))
                })
                .collect(),
            durations: (0..self.durations.len())
                .map(|place| minus(at(&self.durations, place), at(&earlier.durations, place)))
                .collect(),
        }
    }
}

/// What the switch said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// The release before, if there was one.
    pub from: Option<String>,
    /// The release that serves now.
    pub to: String,
    /// From the first change until it was healthy.
    pub switched_ms: u64,
    before: Option<Counters>,
    old: Option<Counters>,
    new: Option<Counters>,
    nginx: Option<CountedByNginx>,
    not_counted: Option<String>,
}

impl Said {
    /// Hears a line of a step's output; whether it was for the receipt.
    pub fn hear(&mut self, line: &str) -> bool {
        let Some((key, value)) = line
            .strip_prefix("receipt ")
            .and_then(|rest| rest.split_once(' '))
        else {
            return false;
        };
        let counters = || serde_json::from_str(value).ok();
        match key {
            "from" => self.from = (!value.is_empty()).then(|| value.to_owned()),
            "to" => value.clone_into(&mut self.to),
            "switched_ms" => self.switched_ms = value.parse().unwrap_or(0),
            "before" => self.before = counters(),
            "old" => self.old = counters(),
            "new" => self.new = counters(),
            "nginx" => self.nginx = CountedByNginx::parse(value),
            "nginx_not" => self.not_counted = Some(value.to_owned()),
            _ => return false,
        }
        true
    }
}

/// What a deploy ends with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The application.
    pub app: String,
    /// The host, as the user calls it.
    pub host: String,
    /// The release that serves now.
    pub release: String,
    /// The one before.
    pub previous: Option<String>,
    /// Of the whole deploy.
    pub seconds: u64,
    /// Of the release, over the wire.
    pub sent_bytes: u64,
    /// From the first change of the switch until the new release was healthy.
    pub switched_ms: u64,
    /// What the server counted meanwhile and in the two seconds after.
    pub counted: Option<Counted>,
    /// For a program that does not count: what Nginx wrote into its log in the same time.
    pub counted_by_nginx: Option<CountedByNginx>,
    /// Why Nginx's log could not be counted.
    pub not_counted: Option<String>,
    /// What to type to get the one before back.
    pub rollback: Option<String>,
}

/// By the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Requests during the switch, of the old process and the new one.
    pub requests: u64,
    /// Answered by 5xx.
    pub failed: u64,
    /// Cut by the server, or closed for want of room.
    pub cut: u64,
    /// Whether the old process told what it had counted when it ended; without that the numbers
    /// lack what it did in the end.
    pub whole: bool,
    /// 99 of 100 requests took no longer, before: microseconds, a bound of the histogram.
    pub p99_before_us: Option<u64>,
    /// The same after.
    pub p99_after_us: Option<u64>,
}

/// By Nginx, of all sites that write into its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CountedByNginx {
    /// Requests that it has answered.
    pub requests: u64,
    /// By 5xx, whether the program said so or nobody answered.
    pub failed: u64,
    /// Of bodies.
    pub bytes: u64,
}

impl CountedByNginx {
    /// `requests failed bytes`.
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(' ').map(|number| number.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(Self {
            requests: next()?,
            failed: next()?,
            bytes: next()?,
        })
    }
}

impl Receipt {
    /// From what was heard. `sent_bytes` and `seconds` are of the whole deploy.
    #[must_use]
    pub fn new(app: &str, host: &str, said: &Said, sent_bytes: u64, seconds: u64) -> Receipt {
        Receipt {
            app: app.to_owned(),
            host: host.to_owned(),
            release: said.to.clone(),
            previous: said.from.clone(),
            seconds,
            sent_bytes,
            switched_ms: said.switched_ms,
            counted: counted(said),
            counted_by_nginx: said.nginx.clone(),
            not_counted: said.not_counted.clone(),
            rollback: said
                .from
                .as_ref()
                .map(|_| format!("aureon rollback {host} --app {app}")),
        }
    }

    /// For people.
    #[must_use]
    pub fn write_text(&self) -> String {
        let mut out = String::new();
        let mut add = |name: &str, value: &str| {
            let _ = writeln!(out, "{name:<12} {value}");
        };
        let (seconds, ms) = (self.seconds, self.switched_ms);
        if self.release.is_empty() {
            add("time", &format!("{seconds} s"));
            add("release", "as it was");
            return out;
        }
        add("release", &self.release);
        add("before", self.previous.as_deref().unwrap_or("nothing"));
        add("time", &format!("{seconds} s, of which the switch {ms} ms"));
        add("sent", &format!("{} bytes", self.sent_bytes));
        match &self.counted {
            Some(counted) => {
                let (requests, failed, cut) = (counted.requests, counted.failed, counted.cut);
                let rest = if counted.whole {
                    ""
                } else {
                    " (without the last ones of the old process)"
                };
                let text =
                    format!("{requests} during the switch, {failed} failed, {cut} cut{rest}");
                add("requests", &text);
                let show = |us: Option<u64>| {
                    us.map_or("unknown".to_owned(), |us| {
                        format!("{} ms or less", us / 1_000)
                    })
                };
                let (before, after) = (counted.p99_before_us, counted.p99_after_us);
                add(
                    "p99",
                    &format!("{} before, {} after", show(before), show(after)),
                );
            }
            None => add("requests", &self.uncounted()),
        }
        if let Some(rollback) = &self.rollback {
            add("way back", rollback);
        }
        out
    }

    /// What is known of requests where no aureond has counted them.
    fn uncounted(&self) -> String {
        match (&self.counted_by_nginx, &self.not_counted, &self.previous) {
            (Some(nginx), ..) => format!(
                "{} during the switch, {} failed, {} bytes of bodies: by Nginx's log, all \
                 its sites",
                nginx.requests, nginx.failed, nginx.bytes
            ),
            (None, Some(why), _) => format!("not counted: {why}"),
            (None, None, Some(_)) => "not counted: no aureond served before and after".to_owned(),
            (None, None, None) => "not counted: nothing served before".to_owned(),
        }
    }

    /// Shell that keeps it on the host, beside the release.
    #[must_use]
    pub fn keep(&self) -> String {
        let path = format!("/opt/aureon/releases/{}.receipt", self.release);
        let json = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        let new = word(&format!("{path}.new"));
        let write = here_document(&format!("cat >{new}"), &json);
        format!("{write}chmod 644 {new}\nmv -f {new} {}\n", word(&path))
    }
}

fn counted(said: &Said) -> Option<Counted> {
    let new = said.new.as_ref()?;
    let before = said.before.as_ref()?;
    // A process that has not ended by then can not tell.
    let old = said.old.as_ref().filter(|old| old.pid == before.pid);
    let last = old.unwrap_or(before).since(before);
    Some(Counted {
        requests: last.exchanges + new.exchanges,
        failed: last.failures + new.failures,
        cut: last.cut() + new.cut() + last.shed + new.shed,
        whole: old.is_some(),
        p99_before_us: before.p99_us(),
        p99_after_us: new.p99_us(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(pid: u32, exchanges: u64, failures: u64, slow: u64) -> String {
        format!(
            r#"{{"pid":{pid},"exchanges":{exchanges},"failures":{failures},"shed":1,"more":{{}},
            "exchanges_cut":{{"peer-gone":7,"cut-off":{failures}}},"durations":[{},0,{slow}]}}"#,
            exchanges - slow
        )
        .replace('\n', " ")
    }

    fn said(lines: &[String]) -> Said {
        let mut said = Said::default();
        for line in lines {
            assert!(said.hear(line), "{line}");
        }
        said
    }

    #[test]
    fn what_both_processes_counted_is_in_it() {
        let said = said(&[
            "receipt from blog-1".to_owned(),
            "receipt to blog-2".to_owned(),
            format!("receipt before {}", status(1, 1000, 1, 0)),
            "receipt switched_ms 250".to_owned(),
            format!("receipt old {}", status(1, 1100, 3, 0)),
            format!("receipt new {}", status(2, 50, 0, 5)),
        ]);
        let receipt = Receipt::new("blog", "root@host", &said, 10, 4);
        let counted = receipt.counted.as_ref().unwrap();
        assert_eq!((counted.requests, counted.failed), (150, 2));
        // Two cut off by the old one, and one shed by the new one; peers that left are not ours.
        assert_eq!((counted.cut, counted.whole), (3, true));
        assert_eq!(counted.p99_before_us, Some(5_000));
        assert_eq!(counted.p99_after_us, Some(25_000));
        let text = receipt.write_text();
        assert!(
            text.contains("150 during the switch, 2 failed, 3 cut\n"),
            "{text}"
        );
        assert!(
            text.contains("aureon rollback root@host --app blog"),
            "{text}"
        );
        assert!(receipt.keep().contains("\"requests\": 150"));
    }

    #[test]
    fn for_another_program_nginx_has_counted() {
        let mut said = said(&[
            "receipt from shop-1".to_owned(),
            "receipt to shop-2".to_owned(),
            "receipt nginx 120 3 4567".to_owned(),
        ]);
        let receipt = Receipt::new("shop", "h", &said, 0, 1);
        let text = receipt.write_text();
        assert!(
            text.contains("120 during the switch, 3 failed, 4567 bytes of bodies: by Nginx's log"),
            "{text}"
        );
        assert!(receipt.keep().contains("\"requests\": 120"));
        assert!(said.hear("receipt nginx 120 3"));
        assert!(said.hear("receipt nginx_not Nginx's log was rotated meanwhile"));
        let text = Receipt::new("shop", "h", &said, 0, 1).write_text();
        assert!(
            text.contains("not counted: Nginx's log was rotated meanwhile\n"),
            "{text}"
        );
    }

    #[test]
    fn what_is_not_known_is_said() {
        let mut said = said(&[
            "receipt from ".to_owned(),
            "receipt to blog-1".to_owned(),
            format!("receipt new {}", status(2, 50, 0, 0)),
        ]);
        let text = Receipt::new("blog", "h", &said, 0, 1).write_text();
        assert!(
            text.contains("not counted") && !text.contains("way back"),
            "{text}"
        );
        said.hear(&format!("receipt before {}", status(1, 10, 0, 0)));
        let receipt = Receipt::new("blog", "h", &said, 0, 1);
        assert!(!receipt.counted.as_ref().unwrap().whole);
        assert!(receipt.write_text().contains("without the last ones"));
        let text = Receipt::new("blog", "h", &Said::default(), 0, 1).write_text();
        assert_eq!(text, "time         1 s\nrelease      as it was\n");
        assert!(!said.hear("wrote /etc/x") && !said.hear("receipt other 1"));
    }
}
