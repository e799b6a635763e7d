//! Reads trials.csv.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result, bail, ensure};
use csv::{ByteRecord, ReaderBuilder};

use super::{
    Row,
    column::Fields,
    files,
    format::{READ, TRIALS, other_schema},
    row::KNOWN,
};
use crate::text::plain;

/// The content of a trials.csv.
#[derive(Debug, Default)]
pub struct Trials {
    /// Every whole row.
    pub rows: Vec<Row>,
    /// Bytes up to the end of the last whole row.
    pub whole_bytes: u64,
    /// An incomplete row follows: the writer was killed, or the disk was full.
    pub torn: bool,
}

/// Reads trials.csv of a session; a torn row at its end is left out.
///
/// # Errors
/// If the file is missing or not a table of trials: one line with place and reason.
pub fn read_rows(folder: &Path) -> Result<Trials> {
    let file = folder.join(TRIALS);
    let bytes = files::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    parse(&bytes).with_context(|| format!("cannot read {}", file.display()))
}

/// Reads the bytes of a trials.csv.
fn parse(bytes: &[u8]) -> Result<Trials> {
    let (mut records, torn) = whole_records(bytes)?;
    let whole_bytes = records.last().map_or(0, |(_, end)| *end);
    if records.is_empty() {
        return Ok(Trials { torn, ..Trials::default() });
    }
    let (header, _) = records.remove(0);
    let columns = columns(&header)?;
    if let Some((record, _)) = records.first() {
        ensure_schema(&columns, record)?;
    }
    for (needed, _) in KNOWN {
        ensure!(columns.iter().any(|name| name == needed), "there is no column {needed}");
    }
    let rows = records.iter().map(|(record, _)| row(&columns, record)).collect::<Result<_>>()?;
    Ok(Trials { rows, whole_bytes, torn })
}

/// The complete records, each with the offset of its end, and whether an incomplete one follows.
fn whole_records(bytes: &[u8]) -> Result<(Vec<(ByteRecord, u64)>, bool)> {
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut records: Vec<(ByteRecord, u64)> = Vec::new();
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record)? {
        records.push((record.clone(), reader.position().byte()));
    }
    let width = records.first().map_or(0, |(header, _)| header.len());
    let torn = records.last().is_some_and(|(last, _)| bytes.last() != Some(&b'\n') || last.len() != width);
    if torn {
        records.pop();
    }
    Ok((records, torn))
}

fn columns(header: &ByteRecord) -> Result<Vec<String>> {
    let columns: Vec<String> = header.iter().map(|name| plain(&String::from_utf8_lossy(name)).into_owned()).collect();
    let mut seen = BTreeSet::new();
    for name in &columns {
        ensure!(seen.insert(name), "there are two columns {name}");
    }
    Ok(columns)
}

/// Refuses rows of another schema.
fn ensure_schema(columns: &[String], first: &ByteRecord) -> Result<()> {
    let at = columns.iter().position(|name| name == "schema_version");
    let version = at.and_then(|at| first.get(at)).map(String::from_utf8_lossy);
    match version.as_deref().and_then(|version| version.parse().ok()) {
        Some(version) if !READ.contains(&version) => bail!(other_schema(version)),
        _ => Ok(()),
    }
}

fn row(columns: &[String], record: &ByteRecord) -> Result<Row> {
    let line = record.position().map_or(0, csv::Position::line);
    if record.len() != columns.len() {
        bail!("line {line} has {} fields and there are {} columns", record.len(), columns.len());
    }
    let fields: Vec<_> = record.iter().map(String::from_utf8_lossy).collect();
    let by_column = columns.iter().map(String::as_str).zip(fields.iter().map(AsRef::as_ref)).collect();
    Row::read(&Fields { line, by_column })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Validity, session::lines};

    /// A file with these columns behind those that cannot be unknown, and rows with these fields in them.
    fn read(columns: &str, rows: &[&str]) -> Result<Trials> {
        let known = |part: fn(&(&str, &str)) -> String| KNOWN.iter().map(part).collect::<Vec<_>>().join(",");
        let (names, values) = (known(|(name, _)| (*name).to_owned()), known(|(_, value)| (*value).to_owned()));
        let rows: String = rows.iter().map(|row| format!("{values},{row}\n")).collect();
        parse(format!("{names},{columns}\n{rows}").as_bytes())
    }

    #[test]
    fn a_text_that_looks_like_a_number_stays_a_text() {
        for arm in ["7", "true", "007", "1e5", "nan", "-0", "inf"] {
            let trials = read("arm,response_ns_p50,nodelay", &[&format!("{arm},20,true")]).unwrap();
            let row = &trials.rows[0];
            assert_eq!((row.arm.as_str(), row.response_ns.p50, row.nodelay), (arm, Some(20), Some(true)));
        }
    }

    #[test]
    fn a_row_that_was_cut_anywhere_is_left_out_and_those_before_it_stay() {
        let row = Row { arm: "a,\"b\"".to_owned(), error: Some("two\nlines".to_owned()), ..Row::default() };
        let (first, second) = (lines(&Row::default(), true).unwrap(), lines(&row, false).unwrap());
        for length in 0..second.len() {
            let trials = parse(&[&first, &second[..length]].concat()).unwrap();
            let whole = first.len() as u64;
            assert_eq!((trials.rows.len(), trials.whole_bytes, trials.torn), (1, whole, length > 0), "{length}");
        }
        let header = first.split(|byte| *byte == b'\n').next().unwrap();
        let cut = |length: usize| parse(&header[..length]).unwrap();
        assert!((1..header.len()).all(|length| cut(length).torn && cut(length).whole_bytes == 0));
        assert!(parse(&[&first, &b"\0\0\0\0"[..]].concat()).unwrap().torn, "a disk may have lengthened the file");
    }

    #[test]
    fn what_is_no_table_of_trials_is_refused_with_the_place() {
        let refused = |columns, row| read(columns, &[row]).unwrap_err().to_string();
        let narrow = read("arm,error", &["mio", "mio,x"]).unwrap_err().to_string();
        assert_eq!(narrow, "line 2 has 9 fields and there are 10 columns");
        assert_eq!(
            refused("response_ns_p50", "2.5"),
            "line 2: response_ns_p50 is \"2.5\" and should be an integer of 0 or more"
        );
        assert_eq!(refused("nodelay", "yes"), "line 2: nodelay is \"yes\" and should be true or false");
        assert_eq!(refused("mode", "ajar"), "line 2: mode is \"ajar\" and should be open or closed");
        let header = |text: &str| parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(header("trial_id,trial_id\n"), "there are two columns trial_id");
        assert_eq!(header("trial_id,block\n"), "there is no column schema_version");
    }

    #[test]
    fn a_table_of_another_schema_is_refused_in_one_line() {
        let refused = parse(b"schema_version,trial_id,valid\n1,1,valid\n").unwrap_err().to_string();
        assert_eq!(
            refused,
            "it was recorded in schema 1, and this loadgen reads schemas 3 to 4: use the loadgen that recorded it"
        );
    }

    #[test]
    fn a_column_that_came_later_is_passed_over_and_one_that_is_missing_is_unknown() {
        let trials = read("arm,novelty", &["mio,1"]).unwrap();
        assert_eq!(trials.rows, [Row { arm: "mio".to_owned(), ..Row::default() }]);
    }

    fn text() -> impl Strategy<Value = String> {
        // What needs quotes, and what looks like something else.
        prop_oneof!["[a-z]{1,4}", "[0-9]{1,3}", "[,\" a]{1,6}", Just("true".to_owned()), Just("NaN".to_owned())]
    }

    fn row() -> impl Strategy<Value = Row> {
        let known = (any::<u64>(), text(), prop::sample::select(Validity::ALL));
        let unknown = (
            prop::option::of(text()),
            prop::option::of(any::<u64>()),
            prop::option::of(any::<i64>()),
            prop::option::of(0.0..1e9),
        );
        (known, unknown).prop_map(|((seed, arm, validity), (error, p50, delta, rate))| {
            let mut row = Row { seed: Some(seed), arm, validity, error, ..Row::default() };
            (row.response_ns.p50, row.slab_bytes_delta, row.rate_achieved_per_sec) = (p50, delta, rate);
            row
        })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(rows in prop::collection::vec(row(), 1..20)) {
            let written = rows.iter().enumerate().flat_map(|(index, row)| lines(row, index == 0).unwrap());
            let bytes: Vec<u8> = written.collect();
            let trials = parse(&bytes).unwrap();
            prop_assert!(!trials.torn && trials.whole_bytes == bytes.len() as u64);
            prop_assert_eq!(trials.rows, rows);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), is_headed: bool) {
            let header = if is_headed { lines(&Row::default(), true).unwrap() } else { Vec::new() };
            let whole = [&header[..], &bytes].concat();
            if let Ok(trials) = parse(&whole) {
                prop_assert!(trials.whole_bytes <= whole.len() as u64);
            }
        }
    }
}
