//! Rows of trials.csv, read again.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result, bail, ensure};
use csv::{ByteRecord, ReaderBuilder};

use super::{
    Row, files,
    kinds::{Kind, kind},
};
use crate::text::plain;

/// Without these nothing can be said of a trial.
const NEEDED: [&str; 5] = ["trial_id", "block", "arm", "valid", "outcome"];

/// What is read of a session's trials.csv.
#[derive(Debug, Default)]
pub struct Trials {
    /// Every whole row, with the types that `--json` has.
    pub rows: Vec<Row>,
    /// Bytes up to the end of the last whole row.
    pub whole_bytes: u64,
    /// Behind it stands a piece of a row: what wrote it was killed, or the disk was full.
    pub torn: bool,
}

/// Reads trials.csv of a session; a torn row at its end is left out.
///
/// # Errors
/// If there is no such file, or it is no table of trials: one line that says where and why.
pub fn read_rows(folder: &Path) -> Result<Trials> {
    let file = folder.join("trials.csv");
    let bytes = files::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    parse(&bytes).with_context(|| format!("cannot read {}", file.display()))
}

/// The same of the bytes of the file.
fn parse(bytes: &[u8]) -> Result<Trials> {
    let (mut records, torn) = whole_records(bytes)?;
    let whole_bytes = records.last().map_or(0, |(_, end)| *end);
    if records.is_empty() {
        return Ok(Trials { torn, ..Trials::default() });
    }
    let (header, _) = records.remove(0);
    let columns = columns(&header)?;
    let rows = records.iter().map(|(record, _)| row(&columns, record)).collect::<Result<_>>()?;
    Ok(Trials { rows, whole_bytes, torn })
}

/// The records that were written to their end, each with the place of its end, and whether there is a piece behind them.
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

fn columns(header: &ByteRecord) -> Result<Vec<(String, Kind)>> {
    let mut seen = BTreeSet::new();
    let columns: Vec<String> = header.iter().map(|name| plain(&String::from_utf8_lossy(name)).into_owned()).collect();
    for name in &columns {
        ensure!(seen.insert(name), "there are two columns {name}");
    }
    for needed in NEEDED {
        ensure!(columns.iter().any(|name| name == needed), "there is no column {needed}");
    }
    let typed = |name: String| {
        let kind = kind(&name);
        (name, kind)
    };
    Ok(columns.into_iter().map(typed).collect())
}

fn row(columns: &[(String, Kind)], record: &ByteRecord) -> Result<Row> {
    let line = record.position().map_or(0, csv::Position::line);
    if record.len() != columns.len() {
        bail!("line {line} has {} cells and there are {} columns", record.len(), columns.len());
    }
    let value = |((name, kind), cell): (&(String, Kind), &[u8])| {
        let cell = String::from_utf8_lossy(cell);
        let value = kind.read(&cell);
        let value = value
            .map_err(|right| anyhow::anyhow!("line {line}: {name} is {:?} and should be {right}", plain(&cell)))?;
        Ok((name.clone(), value))
    };
    columns.iter().zip(record).map(value).collect()
}

/// A row, to be asked for its columns by their names.
#[derive(Clone, Copy, Debug)]
pub struct Figures<'a>(pub &'a Row);

impl Figures<'_> {
    /// A number; `None` if it is unknown.
    pub fn get(&self, column: &str) -> Option<f64> {
        self.0.iter().find(|(name, _)| name == column)?.1.as_f64()
    }

    /// A quantile of the trial's messages, if they define it: at least one lies beyond. Else it would be the slowest
    /// message by another name.
    pub fn quantile(&self, column: &str, quantile: f64) -> Option<f64> {
        let defined = |echoed: f64| (echoed * (1.0 - quantile) * 1e6).round() >= 1e6;
        self.get(column).filter(|_| self.get("echoed_count").is_none_or(defined))
    }

    /// A text; empty if it is unknown.
    pub fn text(&self, column: &str) -> &str {
        self.0.iter().find(|(name, _)| name == column).and_then(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Whether its figures may be used: no gate found it invalid, and the server did what was asked.
    pub fn is_usable(&self) -> bool {
        self.text("valid") != "invalid" && self.text("outcome") == "ok"
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const HEADER: &str = "trial_id,block,arm,valid,outcome,error,response_ns_p50,nodelay\n";

    fn read(rows: &str) -> Result<Trials> {
        parse(format!("{HEADER}{rows}").as_bytes())
    }

    #[test]
    fn a_text_that_looks_like_a_number_stays_a_text() {
        for arm in ["7", "true", "007", "1e5", "nan", "-0", "inf"] {
            let trials = read(&format!("1,1,{arm},valid,ok,,20,true\n")).unwrap();
            let row = Figures(&trials.rows[0]);
            assert_eq!((row.text("arm"), row.get("response_ns_p50"), row.get("block")), (arm, Some(20.0), Some(1.0)));
        }
    }

    #[test]
    fn a_row_that_was_cut_anywhere_is_left_out_and_those_before_it_stay() {
        let row = "2,1,\"a,\"\"b\"\"\",valid,ok,\"two\nlines\",20,true\n";
        for length in 0..row.len() {
            let trials = read(&format!("1,1,mio,valid,ok,,20,true\n{}", &row[..length])).unwrap();
            let whole = HEADER.len() + 26;
            assert_eq!((trials.rows.len(), trials.whole_bytes, trials.torn), (1, whole as u64, length > 0), "{length}");
        }
        let cut = |length: usize| parse(&HEADER.as_bytes()[..length]).unwrap();
        assert!((1..HEADER.len()).all(|length| cut(length).torn && cut(length).whole_bytes == 0));
        assert!(read("1,1,mio,valid,ok,,20,true\n\0\0\0\0").unwrap().torn, "a disk may have lengthened the file");
    }

    #[test]
    fn what_is_no_table_of_trials_is_refused_with_the_place() {
        let refused = |rows: &str| read(rows).unwrap_err().to_string();
        assert_eq!(refused("1,1\n1,1,mio,valid,ok,,2,true\n"), "line 2 has 2 cells and there are 8 columns");
        assert_eq!(
            refused("1,1,mio,valid,ok,,2.5,true\n"),
            "line 2: response_ns_p50 is \"2.5\" and should be an integer"
        );
        assert_eq!(refused("1,1,mio,valid,ok,,,yes\n"), "line 2: nodelay is \"yes\" and should be true or false");
        let header = |text: &str| parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(header("trial_id,trial_id\n"), "there are two columns trial_id");
        assert_eq!(header("trial_id,block\n"), "there is no column arm");
    }

    fn text() -> impl Strategy<Value = String> {
        // What needs quotes, and what looks like something else.
        prop_oneof!["[a-z]{1,4}", "[0-9]{1,3}", "[,\" a]{1,6}", Just("true".to_owned()), Just("NaN".to_owned())]
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(rows in prop::collection::vec((any::<i64>(), text(), any::<bool>()), 0..20)) {
            let mut csv = csv::Writer::from_writer(Vec::new());
            csv.write_record(HEADER.trim_end().split(',')).unwrap();
            for (number, text, flag) in &rows {
                let (number, flag) = (number.to_string(), flag.to_string());
                csv.write_record(["1", "1", text, "valid", "ok", text, &number, &flag]).unwrap();
            }
            let bytes = csv.into_inner().unwrap();
            let trials = parse(&bytes).unwrap();
            prop_assert!(!trials.torn && trials.whole_bytes == bytes.len() as u64);
            prop_assert_eq!(trials.rows.len(), rows.len());
            for (row, (number, text, flag)) in trials.rows.iter().zip(&rows) {
                let expected = [Value::from(text.as_str()), Value::from(*number), Value::from(*flag)];
                prop_assert_eq!([row[5].1.clone(), row[6].1.clone(), row[7].1.clone()], expected);
            }
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), is_headed: bool) {
            let header = if is_headed { HEADER.as_bytes() } else { b"" };
            let whole = [header, &bytes].concat();
            if let Ok(trials) = parse(&whole) {
                prop_assert!(trials.whole_bytes <= whole.len() as u64);
            }
        }
    }

    #[test]
    fn a_quantile_that_too_few_messages_define_is_not_told() {
        let told = |echoed: u64, column: &str, quantile| {
            let row = [("echoed_count", echoed), ("p50", 7), ("p99", 9)];
            let row: Row = row.into_iter().map(|(name, number)| (name.to_owned(), number.into())).collect();
            Figures(&row).quantile(column, quantile)
        };
        assert_eq!((told(99, "p99", 0.99), told(100, "p99", 0.99)), (None, Some(9.0)));
        assert_eq!((told(1, "p50", 0.5), told(2, "p50", 0.5), told(0, "p50", 0.5)), (None, Some(7.0), None));
    }

    #[test]
    fn a_rate_below_one_per_second_is_read_again() {
        let header = "trial_id,block,arm,valid,outcome,rate_offered_per_sec,churn_per_sec\n";
        let trials = parse(format!("{header}1,1,0.5,valid,ok,0.1,2\n").as_bytes()).unwrap();
        let row = Figures(&trials.rows[0]);
        assert_eq!((row.get("rate_offered_per_sec"), row.get("churn_per_sec")), (Some(0.1), Some(2.0)));
        assert_eq!((row.get("arm"), row.text("arm")), (None, "0.5"));
        assert!(parse(format!("{header}1,1,a,valid,ok,NaN,2\n").as_bytes()).is_err());
    }
}
