//! Families of metrics as text for Prometheus (text format 0.0.4) and as JSON.
//!
//! Histograms become cumulative buckets here, as that format wants; durations become seconds.
//! Label values are escaped, names are ours.

use aureon::metrics::BUCKETS_US;

use crate::json::{List, Object, write_number, write_string};
use crate::metrics::{Family, Kind, Labels, Sample};

/// The media type of [`write_text`].
pub const TEXT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes families for Prometheus.
pub fn write_text(families: &[Family], out: &mut Vec<u8>) {
    for family in families {
        if family.samples.is_empty() {
            continue;
        }
        for (what, text) in [("# HELP ", family.help), ("# TYPE ", name_of(family.kind))] {
            push(out, &[what, family.name, " ", text, "\n"]);
        }
        for (labels, sample) in &family.samples {
            match sample {
                Sample::Number(number) => {
                    write_name(out, family.name, "", labels, None);
                    write_number(out, *number);
                }
                Sample::Us(us) => {
                    write_name(out, family.name, "", labels, None);
                    write_seconds(out, *us);
                }
                Sample::Durations(buckets, sum_us) => {
                    write_durations(out, family.name, labels, buckets, *sum_us);
                }
            }
            out.push(b'\n');
        }
    }
}

fn write_durations(out: &mut Vec<u8>, name: &str, labels: &Labels, buckets: &[u64], sum_us: u64) {
    let mut count = 0;
    for (at, bucket) in buckets.iter().enumerate() {
        count += bucket;
        write_name(
            out,
            name,
            "_bucket",
            labels,
            Some(BUCKETS_US.get(at).copied()),
        );
        write_number(out, count);
        out.push(b'\n');
    }
    write_name(out, name, "_sum", labels, None);
    write_seconds(out, sum_us);
    out.push(b'\n');
    write_name(out, name, "_count", labels, None);
    write_number(out, count);
}

/// `name_suffix{label="value",le="0.005"} `. The bound of a bucket is given in microseconds; the
/// last one has none.
fn write_name(
    out: &mut Vec<u8>,
    name: &str,
    suffix: &str,
    labels: &Labels,
    bound: Option<Option<u64>>,
) {
    push(out, &[name, suffix]);
    let mut separator = b'{';
    for (label, value) in labels {
        out.push(separator);
        push(out, &[label, "=\""]);
        write_label(out, value);
        out.push(b'"');
        separator = b',';
    }
    if let Some(bound) = bound {
        out.push(separator);
        push(out, &["le=\""]);
        match bound {
            Some(us) => write_seconds(out, us),
            None => push(out, &["+Inf"]),
        }
        out.push(b'"');
        separator = b',';
    }
    if separator == b',' {
        out.push(b'}');
    }
    out.push(b' ');
}

/// The three characters that mean something in a label's value are escaped.
fn write_label(out: &mut Vec<u8>, value: &str) {
    for byte in value.bytes() {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            _ => out.push(byte),
        }
    }
}

/// Microseconds as seconds, without zeros at the end: `0.005`, `10`.
fn write_seconds(out: &mut Vec<u8>, us: u64) {
    write_number(out, us / 1_000_000);
    let mut rest = us % 1_000_000;
    if rest == 0 {
        return;
    }
    out.push(b'.');
    let mut digit = 100_000;
    while rest > 0 {
        out.push(b'0' + (rest / digit % 10) as u8);
        rest %= digit;
        digit /= 10;
    }
}

const fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

fn push(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Writes the same as JSON: a list of families. A histogram's buckets are cumulative here too.
pub fn write_json(families: &[Family], out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, family) in families.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let mut samples = List::default();
        for (labels, sample) in &family.samples {
            write_sample_json(labels, sample, samples.element());
        }
        let mut object = Object::new(out);
        object.string("name", family.name);
        object.string("help", family.help);
        object.string("type", name_of(family.kind));
        object.raw("samples", &samples.end());
        object.end();
    }
    out.push(b']');
}

fn write_sample_json(labels: &Labels, sample: &Sample, out: &mut Vec<u8>) {
    let mut named = Vec::new();
    let mut object = Object::new(&mut named);
    for (label, value) in labels {
        object.string(label, value.as_bytes());
    }
    object.end();
    let mut object = Object::new(out);
    object.raw("labels", &named);
    match sample {
        Sample::Number(number) => object.number("value", *number),
        Sample::Us(us) => object.seconds("value", *us),
        Sample::Durations(buckets, sum_us) => {
            let mut list = vec![b'{'];
            let mut count = 0;
            for (at, bucket) in buckets.iter().enumerate() {
                count += bucket;
                if at > 0 {
                    list.push(b',');
                }
                let mut bound = Vec::new();
                match BUCKETS_US.get(at) {
                    Some(us) => write_seconds(&mut bound, *us),
                    None => bound.extend_from_slice(b"+Inf"),
                }
                write_string(&mut list, &bound);
                list.push(b':');
                write_number(&mut list, count);
            }
            list.push(b'}');
            object.number("count", count);
            object.seconds("sum", *sum_us);
            object.raw("buckets", &list);
        }
    }
    object.end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn families() -> Vec<Family> {
        let mut buckets = vec![0; BUCKETS_US.len() + 1];
        (buckets[0], buckets[1], buckets[14]) = (3, 2, 1);
        let labels: Labels = vec![("route", Arc::from("/a\"b\\c\nd"))];
        vec![
            Family {
                name: "seconds",
                help: "Help.",
                kind: Kind::Histogram,
                samples: vec![(labels, Sample::Durations(buckets, 12_003_400))],
            },
            Family {
                name: "busy",
                help: "Busy.",
                kind: Kind::Counter,
                samples: vec![(Labels::new(), Sample::Us(1_000_001))],
            },
            Family {
                name: "nothing",
                help: "No samples, so nothing is said.",
                kind: Kind::Gauge,
                samples: Vec::new(),
            },
        ]
    }

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_all_of_it() {
        let mut out = Vec::new();
        write_text(&families(), &mut out);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let label = "route=\"/a\\\"b\\\\c\\nd\"";
        assert_eq!(
            lines[..2],
            ["# HELP seconds Help.", "# TYPE seconds histogram"]
        );
        assert_eq!(
            lines[2],
            format!("seconds_bucket{{{label},le=\"0.005\"}} 3")
        );
        assert_eq!(lines[3], format!("seconds_bucket{{{label},le=\"0.01\"}} 5"));
        assert_eq!(lines[15], format!("seconds_bucket{{{label},le=\"10\"}} 5"));
        assert_eq!(
            lines[16],
            format!("seconds_bucket{{{label},le=\"+Inf\"}} 6")
        );
        assert_eq!(lines[17], format!("seconds_sum{{{label}}} 12.0034"));
        assert_eq!(lines[18], format!("seconds_count{{{label}}} 6"));
        assert_eq!(
            lines[19..],
            ["# HELP busy Busy.", "# TYPE busy counter", "busy 1.000001"]
        );
    }

    #[test]
    fn json_says_the_same() {
        let mut out = Vec::new();
        write_json(&families(), &mut out);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let sample = &value[0]["samples"][0];
        assert_eq!(sample["labels"]["route"], "/a\"b\\c\nd");
        assert_eq!(
            (&sample["count"], &sample["buckets"]["0.01"]),
            (&6.into(), &5.into())
        );
        assert_eq!(
            (&sample["sum"], &sample["buckets"]["+Inf"]),
            (&12.0034.into(), &6.into())
        );
        assert_eq!(value[1]["samples"][0]["value"], 1.000001);
        assert_eq!(value[2]["samples"], serde_json::json!([]));
    }
}
