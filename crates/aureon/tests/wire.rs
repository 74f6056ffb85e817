//! Runs the transcripts of `tests/wire/` (README.md there says how they are written).
//!
//! Every case is played whole, byte by byte, and split in two at every offset, and must give the
//! same answers: first to `http::Session` alone, with the statuses of the transcript in place of
//! an application, then to the worker over the simulated OS. After an error nothing more may be
//! answered. The heads of all cases are also given to `httparse`; where we differ, the case
//! stands in `differences.md`. A failing case is named by file and line.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod transcript;

use aureon::http::{Scratch, parse_head};
use aureon::limits::Limits;
use std::collections::{BTreeMap, BTreeSet};
use transcript::session;
use transcript::worker::Stage;

/// The offsets to split at: all of a short input; of a long one its ends, the line ends, the
/// limits, and a sample of the rest.
fn offsets(bytes: &[u8]) -> Vec<usize> {
    if bytes.len() <= 2_000 {
        return (1..bytes.len()).collect();
    }
    let mut chosen: BTreeSet<usize> = (1..64).chain(bytes.len() - 64..bytes.len()).collect();
    let line_ends = (0..bytes.len()).filter(|at| matches!(bytes[*at], b'\n' | b'\r'));
    for at in line_ends
        .take(200)
        .chain([4_096, 8_000, 8_004, 16_384, 65_536])
    {
        chosen.extend(at.saturating_sub(2)..=at + 2);
    }
    chosen.extend((1..64).map(|part| bytes.len() / 64 * part));
    chosen
        .into_iter()
        .filter(|at| (1..bytes.len()).contains(at))
        .collect()
}

#[track_caller]
fn all_pass(failures: &[String]) {
    let shown = failures
        .iter()
        .take(20)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    assert!(failures.is_empty(), "{} failures:\n{shown}", failures.len());
}

/// Plays a case in every way; gives the first failure of it.
fn play_all(
    name: &str,
    bytes: &[u8],
    mut play: impl FnMut(&[&[u8]]) -> Result<(), String>,
) -> Option<String> {
    let mut check = |how: &str, pieces: &[&[u8]]| {
        let failed = play(pieces).err();
        failed.map(|what| format!("{name}, {how}: {what}"))
    };
    let singles: Vec<&[u8]> = bytes.chunks(1).collect();
    check("whole", &[bytes])
        .or_else(|| check("byte by byte", &singles))
        .or_else(|| {
            offsets(bytes)
                .into_iter()
                .find_map(|at| check(&format!("split at {at}"), &[&bytes[..at], &bytes[at..]]))
        })
}

#[test]
fn the_session_answers_every_transcript_however_it_is_cut() {
    let cases = transcript::load();
    assert!(cases.len() > 550, "only {} cases were found", cases.len());
    let play = |case: &transcript::Case| {
        let bytes = case.bytes("\"tag\"");
        play_all(&case.name(), &bytes, |pieces| session::play(case, pieces))
    };
    all_pass(&cases.iter().filter_map(play).collect::<Vec<_>>());
}

#[test]
fn the_worker_answers_every_transcript_however_it_is_cut() {
    let mut failures = Vec::new();
    let mut stage = Stage::new(Limits::DEFAULT, "default");
    for case in &transcript::load() {
        let limits = case.limits();
        let mut own = (limits != Limits::DEFAULT).then(|| Stage::new(limits, &case.stem()));
        let stage = own.as_mut().unwrap_or(&mut stage);
        let bytes = case.bytes(stage.tag());
        failures.extend(play_all(&case.name(), &bytes, |pieces| {
            stage.play(case, pieces)
        }));
    }
    all_pass(&failures);
}

/// A small generator (SplitMix64), so that a failure names the seed it comes from.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

/// Spoils a few bytes, mostly with those that mean something.
fn spoil(bytes: &mut Vec<u8>, random: &mut Random) {
    const MEANING: &[u8] = b"\r\n\r\n \t:;,=\"\\0159aFx+-_/?#%*.\0\x0b\x7f\x80\xff";
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        let byte = MEANING[random.below(MEANING.len())];
        match random.below(5) {
            0 => bytes.insert(at, byte),
            1 if at < bytes.len() => bytes[at] = byte,
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => {
                let end = (at + random.below(40)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
}

#[test]
fn spoiled_transcripts_mean_the_same_however_they_are_cut() {
    let mut cases = transcript::load();
    for case in &mut cases {
        case.expected.clear();
    }
    cases.retain(|case| case.bytes("").len() < 2_000);
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let case = &cases[random.below(cases.len())];
        let mut bytes = case.bytes("\"tag\"");
        spoil(&mut bytes, &mut random);
        let whole = session::outcome(case, &[&bytes]);
        let singles: Vec<&[u8]> = bytes.chunks(1).collect();
        let (first, second) = bytes.split_at(random.below(bytes.len() + 1));
        for cut in [&singles[..], &[first, second]] {
            let same = session::outcome(case, cut) == whole;
            assert!(
                same,
                "seed {seed}, {}: {}",
                case.name(),
                bytes.escape_ascii()
            );
        }
        // After an error, nothing: an error is always the last thing that happens.
        assert!(
            whole.1.len() <= 1 && (whole.1.is_empty() || whole.2),
            "seed {seed}"
        );
    }
}

#[test]
fn every_case_of_the_published_list_has_a_transcript() {
    let listed: Vec<String> = transcript::published_ids();
    assert_eq!(listed.len(), 215);
    let mut answered: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for heading in transcript::headings() {
        assert!(!heading.why.is_empty(), "{} does not say why", heading.name);
        for id in heading.published {
            answered.entry(id).or_default().push(heading.name.clone());
        }
    }
    for id in &listed {
        let names = answered.remove(id).unwrap_or_default();
        assert_eq!(names.len(), 1, "{id} is answered by {names:?}");
    }
    assert!(answered.is_empty(), "not in the list: {answered:?}");
}

#[test]
fn the_document_and_the_transcripts_name_each_other() {
    let room = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(room.join("../../docs/HTTP.md")).unwrap();
    let mut named = BTreeSet::new();
    for word in text.split('`').skip(1).step_by(2) {
        let path = match word.split_once('/') {
            Some(("wire", name)) if name.ends_with(".md") => format!("tests/{word}"),
            Some(("wire", "…")) => continue,
            Some(("wire", name)) => {
                named.insert(format!("{name}.md"));
                format!("tests/{word}.md")
            }
            Some(("tests", _)) => word.to_owned(),
            Some(("http" | "app" | "files", _)) => format!("src/{word}"),
            _ => continue,
        };
        assert!(room.join(&path).exists(), "docs/HTTP.md names {path}");
    }
    let files: BTreeSet<String> = transcript::files().into_iter().collect();
    assert_eq!(named, files);
}

/// What two parsers make of the first head of a case, when they do not agree on accepting it.
fn difference(bytes: &[u8]) -> Option<String> {
    let mut fields = vec![httparse::EMPTY_HEADER; 20_000];
    let mut request = httparse::Request::new(&mut fields);
    let theirs = request.parse(bytes);
    let mut scratch = Scratch::new();
    let ours = parse_head(bytes, &mut scratch, &Limits::DEFAULT);
    match (ours, theirs) {
        (Ok(Some((_, ours))), Ok(httparse::Status::Complete(theirs))) if ours == theirs => None,
        (Ok(None), Ok(httparse::Status::Partial)) | (Err(_), Err(_)) => None,
        (Err(error), Ok(_)) => Some(format!("we refuse: {}", error.name())),
        (Ok(_), Err(error)) => Some(format!("we accept: {error:?}")),
        (Ok(ours), Ok(theirs)) => Some(format!(
            "we {} and they {}",
            if ours.is_some() { "end" } else { "wait" },
            if theirs.is_complete() { "end" } else { "wait" },
        )),
    }
}

#[test]
fn every_difference_to_httparse_is_listed_with_its_reason() {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for case in transcript::load() {
        if let Some(kind) = difference(&case.bytes("\"tag\"")) {
            found.entry(kind).or_default().insert(case.label());
        }
    }
    let listed = transcript::differences();
    let mut wrong = Vec::new();
    for (kind, labels) in &found {
        for label in labels {
            if !listed
                .get(kind)
                .is_some_and(|(_, listed)| listed.contains(label))
            {
                wrong.push(format!("not listed under `{kind}`: {label}"));
            }
        }
    }
    for (kind, (reason, labels)) in &listed {
        if reason.is_empty() {
            wrong.push(format!("`{kind}` has no reason"));
        }
        for label in labels {
            if !found.get(kind).is_some_and(|found| found.contains(label)) {
                wrong.push(format!("listed under `{kind}` but no difference: {label}"));
            }
        }
    }
    all_pass(&wrong);
}
