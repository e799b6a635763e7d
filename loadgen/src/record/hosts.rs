//! hosts.csv and hosts/: what each generator on another host measured of each trial, from which the trial's figures are the
//! exact sum.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::{
    Histogram,
    serialization::{
        Deserializer,
        interval_log::{IntervalLogIterator, LogEntry},
    },
};
use serde::{Deserialize, Serialize};

use super::{
    Row, Series, files,
    folder::host_name,
    format::{HOST_FACTS, HOSTS, HOSTS_FOLDER, LOG},
};
use crate::text::plain;

/// A generator on another host, as the session's configuration names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Counted from 1.
    pub host: u64,
    /// The host's name.
    pub name: String,
    /// Threads of its engine.
    pub threads: u64,
    /// CPUs of its engine.
    pub cpus: Vec<usize>,
    /// How it waits for the next slot.
    pub pacing: String,
    /// Identifies the host since its boot: two generators with the same are on one host.
    pub boot_id: Option<String>,
}

/// What a generator on another host measured of a trial's load window. Times are nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostRow {
    /// As in trials.csv.
    pub trial_id: u64,
    /// Counted from 1.
    pub host: u64,
    /// The host's name.
    pub name: String,
    /// Open connections at the end.
    pub connections: u64,
    /// Its slots of the schedule; in a closed loop 0.
    pub scheduled_count: u64,
    /// Messages handed to the kernel or queued behind a full socket.
    pub sent_count: u64,
    /// Of these, came back unaltered.
    pub echoed_count: u64,
    /// Status lines received.
    pub status_count: u64,
    /// Received - intended, its median; empty in a closed loop.
    pub response_p50_ns: Option<u64>,
    /// The 99th percentile.
    pub response_p99_ns: Option<u64>,
    /// Received - first write attempt, its median.
    pub service_p50_ns: Option<u64>,
    /// First write attempt - intended, its 99th percentile; empty in a closed loop.
    pub send_lag_p99_ns: Option<u64>,
    /// The busiest thread's time in rounds that had something to do; only with spinning.
    pub busy_ns: u64,
    /// Time that its threads were runnable and did not run.
    pub run_delay_ns: Option<u64>,
    /// How long before the window's start it had its order; negative if it was too late.
    pub lead_ns: i64,
    /// Its CLOCK_MONOTONIC less that of the server's host, when the window began.
    pub clock_offset_ns: i64,
    /// By how much that may be wrong at the window's end.
    pub clock_error_ns: u64,
}

/// A host's row and its distributions.
#[derive(Clone, Debug)]
pub struct HostRecording<'a> {
    /// The row.
    pub row: HostRow,
    /// Its distributions; seconds are not recorded.
    pub series: Series<'a>,
}

/// The folder of a host's own files, from the session's.
pub(super) fn folder(host: u64, name: &str) -> String {
    format!("{HOSTS_FOLDER}/{host}-{}", host_name(name))
}

/// Makes the folders of the hosts, with what each said of itself.
pub(super) fn create(session: &Path, hosts: &[(HostRecord, Vec<(String, String)>)]) -> Result<()> {
    for (host, facts) in hosts {
        let folder = session.join(folder(host.host, &host.name));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let file = folder.join(HOST_FACTS);
        let facts: BTreeMap<&str, &str> = facts.iter().map(|(name, value)| (&**name, &**value)).collect();
        let text = serde_json::to_string_pretty(&facts)? + "\n";
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// The lines of hosts.csv.
pub(super) fn lines(rows: &[HostRow]) -> Result<Vec<u8>> {
    let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    rows.iter().try_for_each(|row| csv.serialize(row))?;
    Ok(csv.into_inner()?)
}

/// The first line of hosts.csv.
pub(super) fn header() -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.serialize(HostRow::default())?;
    let text = csv.into_inner()?;
    let end = text.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    Ok(text[..end].to_vec())
}

/// The rows of hosts.csv.
///
/// # Errors
/// If the file is missing, or no table of this kind.
pub fn read_hosts(session: &Path) -> Result<Vec<HostRow>> {
    let file = session.join(HOSTS);
    let bytes = files::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let rows = csv::Reader::from_reader(&bytes[..]).into_deserialize::<HostRow>().collect::<Result<Vec<_>, _>>();
    let mut rows = rows.with_context(|| format!("cannot read {}", file.display()))?;
    rows.iter_mut().for_each(|row| row.name = plain(&row.name).into_owned());
    Ok(rows)
}

/// Checks that the trials are what their hosts measured: a row of each host, counts that add up, and where the histograms
/// are there, their exact sum.
///
/// # Errors
/// One line that names the trial and what is wrong with it.
pub fn check_hosts(session: &Path, hosts: &[HostRecord], rows: &[Row]) -> Result<()> {
    let of_hosts = read_hosts(session)?;
    for row in rows.iter().filter(|row| row.scheduled_count.is_some() || row.sent_count.is_some()) {
        let own: Vec<&HostRow> = of_hosts.iter().filter(|host| host.trial_id == row.trial_id).collect();
        let place = || format!("{}: trial {}", session.join(HOSTS).display(), row.trial_id);
        ensure!(own.len() == hosts.len(), "{} has {} of {} hosts", place(), own.len(), hosts.len());
        for (what, total, of) in [
            ("scheduled messages", row.scheduled_count, (|host| host.scheduled_count) as fn(&HostRow) -> u64),
            ("sent messages", row.sent_count, |host| host.sent_count),
            ("echoes", row.echoed_count, |host| host.echoed_count),
            ("status lines", row.status_count, |host| host.status_count),
        ] {
            let sum: u64 = own.iter().map(|host| of(host)).sum();
            if let Some(total) = total.filter(|total| *total != sum) {
                bail!("{}: the {what} of its hosts add up to {sum}, and trials.csv has {total}", place());
            }
        }
    }
    check_histograms(session, hosts)
}

/// Histograms by their tag, `TRIAL.METRIC`.
type Log = BTreeMap<String, Histogram<u64>>;

fn check_histograms(session: &Path, hosts: &[HostRecord]) -> Result<()> {
    let file = session.join(LOG);
    if !file.is_file() {
        // A session that is kept may be without.
        return Ok(());
    }
    let merged = read_log(&file)?;
    let mut sum = Log::new();
    for host in hosts {
        for (tag, part) in read_log(&session.join(folder(host.host, &host.name)).join(LOG))? {
            match sum.get_mut(&tag) {
                None => drop(sum.insert(tag, part)),
                Some(sum) => sum.add(part).map_err(|error| anyhow::anyhow!("{tag}: {error:?}"))?,
            }
        }
    }
    // These are of all hosts together, and no host has them.
    let is_common = |tag: &str| tag.ends_with(".status_emit_lag") || tag.ends_with(".status_spread");
    let alone = merged.keys().find(|tag| !is_common(tag) && !sum.contains_key(*tag));
    if let Some(tag) = alone {
        bail!("{}: {tag} is of no host", file.display());
    }
    for (tag, sum) in sum {
        let is_whole = merged.get(&tag).is_some_and(|merged| *merged == sum);
        ensure!(is_whole, "{}: {tag} is not the sum of its hosts' histograms", file.display());
    }
    Ok(())
}

fn read_log(file: &Path) -> Result<Log> {
    let cannot = || format!("cannot read {}", file.display());
    let bytes = files::read(file).with_context(cannot)?;
    let (mut log, mut deserializer) = (Log::new(), Deserializer::new());
    for entry in IntervalLogIterator::new(&bytes) {
        let entry = entry.map_err(|error| anyhow::anyhow!("{error:?}")).with_context(cannot)?;
        let LogEntry::Interval(interval) = entry else { continue };
        let Some(tag) = interval.tag() else { continue };
        let histogram = base64_histogram(interval.encoded_histogram(), &mut deserializer).with_context(cannot)?;
        log.insert(tag.as_str().to_owned(), histogram);
    }
    Ok(log)
}

fn base64_histogram(text: &str, deserializer: &mut Deserializer) -> Result<Histogram<u64>> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let bytes = STANDARD.decode(text)?;
    deserializer.deserialize(&mut &bytes[..]).map_err(|error| anyhow::anyhow!("{error:?}"))
}
