//! A session that is being recorded.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use servers::clock;

use super::{
    Build, Configuration, Gate, Metadata, Row, SCHEMA_VERSION, Series, State, Trials, build,
    files::Files,
    folder::SessionFolder,
    format::{HOSTS, LOG, METADATA, QUANTILES, TRIALS, WINDOWS},
    histograms,
    hosts::{self, HostRecord, HostRecording, HostRow},
    metadata::GuestFiles,
    origin, read_rows, recover,
    row::written,
};
use crate::{observe, terminal};

/// The record of one trial.
#[derive(Clone, Debug)]
pub struct Recording<'a> {
    /// The row, except for the columns that only the session knows.
    pub row: Row,
    /// Start of the trial by CLOCK_MONOTONIC; `None` if there was none.
    pub started_at_ns: Option<u64>,
    /// The distributions of the load window, if there was one.
    pub series: Option<Series<'a>>,
    /// What each generator on another host measured in it, in their order.
    pub hosts: Vec<HostRecording<'a>>,
}

/// The part of session.json that the caller decides.
#[derive(Clone, Debug, Default)]
pub struct Preamble {
    /// The options and plans that reproduce the session.
    pub configuration: Configuration,
    /// What the generators on other hosts said of themselves, in the order of the configuration.
    pub host_facts: Vec<Vec<(String, String)>>,
    /// Every gate with its name.
    pub gates: Vec<(&'static str, Gate)>,
    /// Every other limit with its name.
    pub limits: Vec<(&'static str, f64)>,
    /// The checks of the host's fitness.
    pub doctor: Option<fn(&observe::Facts) -> Vec<observe::fitness::HostCheck>>,
}

/// An open session.
#[derive(Debug)]
pub struct Session {
    place: SessionFolder,
    build: Build,
    metadata: Metadata,
    /// Start of the session in nanoseconds of CLOCK_MONOTONIC; negative if it was begun before the last boot.
    started_ns: i64,
    files: Files,
    has_header: bool,
}

impl Session {
    /// Begins a session in its folder.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn create(place: SessionFolder, preamble: Preamble) -> Result<Self> {
        let build = build();
        let environment = observe::Facts { host: place.host.clone(), ..observe::facts() };
        let named = |name: &str| name.to_owned();
        let lines_of = |count: fn(&servers::Server) -> usize| {
            servers::SERVERS.iter().map(|server| (named(server.name), count(server) as u64)).collect()
        };
        let metadata = Metadata {
            schema_version: SCHEMA_VERSION,
            session_id: place.id.clone(),
            state: State::Running,
            started_at_unix_ms: place.started.as_millis() as u64,
            started_at_monotonic_ns: Some(place.started_ns),
            boot_mark: origin::boot_mark(&place.id),
            command: origin::command(std::env::args_os().map(|word| word.to_string_lossy().into_owned())),
            configuration: preamble.configuration,
            gates: preamble.gates.into_iter().map(|(name, gate)| (named(name), gate)).collect(),
            limits: preamble.limits.into_iter().map(|(name, limit)| (named(name), limit)).collect(),
            build: build.clone().with_checksum(),
            doctor: preamble.doctor.map_or_else(Vec::new, |look| look(&environment)),
            logic_lines: lines_of(servers::Server::logic_lines),
            logic_lines_with_shared: lines_of(servers::Server::logic_lines_with_shared),
            region_lines: servers::REGIONS.iter().map(|(region, _)| (named(region), region_lines(region))).collect(),
            environment,
        };
        let hosts = metadata.configuration.hosts.iter().cloned().zip(preamble.host_facts).collect::<Vec<_>>();
        hosts::create(&place.folder, &hosts)?;
        let mut files = Files::open(&place.folder, &growing(&metadata.configuration))?;
        files.append(&headers(&metadata)?)?;
        let started_ns = place.started_ns as i64;
        let session = Self { place, build, metadata, started_ns, files, has_header: false };
        session.write_metadata(State::Running)?;
        Ok(session)
    }

    /// Resumes an interrupted session of the same build and `configuration`; measured values such as the ceiling may
    /// differ. `metadata` and `trials` are its record so far; lines of other trials are cut from its files.
    ///
    /// # Errors
    /// If the folder cannot be written, or the session was recorded with another build or configuration: such trials must
    /// not be mixed.
    pub fn reopen(
        mut place: SessionFolder,
        metadata: Metadata,
        trials: &Trials,
        configuration: &Configuration,
    ) -> Result<Self> {
        let build = build();
        let then = &metadata.configuration;
        for (what, is_same) in [
            ("build", metadata.build.binary_sha256 == build.clone().with_checksum().binary_sha256),
            ("plan", then.plan == configuration.plan),
            ("arms", then.arms == configuration.arms),
            ("cells", then.cells == configuration.cells),
            ("generators", are_same_hosts(&then.hosts, &configuration.hosts)),
            ("build of a guest", are_same_guests(&then.guest_files, &configuration.guest_files)),
        ] {
            let folder = place.folder.display();
            ensure!(is_same, "{folder} was recorded with another {what}: begin a session of its own");
        }
        place.id.clone_from(&metadata.session_id);
        let growing = growing(&metadata.configuration);
        cut_leftovers(&place.folder, trials, &growing)?;
        write_trials(&place.folder, None)?;
        let mut files = Files::open(&place.folder, &growing)?;
        // The session may have crashed before the first lines were written.
        files.append(&missing_headers(&place.folder, &metadata, &growing)?)?;
        let started_ns = began(&metadata, trials);
        let session = Self { place, build, metadata, started_ns, files, has_header: trials.whole_bytes > 0 };
        session.write_metadata(State::Running)?;
        Ok(session)
    }

    /// The folder of the session.
    pub fn folder(&self) -> &Path {
        &self.place.folder
    }

    /// Appends a trial to every file, or to none if one cannot be written; returns its row.
    ///
    /// # Errors
    /// If a file cannot be written; the error names it.
    pub fn append(&mut self, recording: Recording<'_>) -> Result<Row> {
        let mut row = recording.row;
        self.build.stamp(&mut row);
        row.session_id.clone_from(&self.place.id);
        let after_ns = recording.started_at_ns.map(|at_ns| (at_ns as i64 - self.started_ns).max(0) as u64);
        row.started_after_ms = after_ns.map(|ns| ns / 1_000_000);
        let start = Duration::from_nanos(after_ns.unwrap_or_default());
        let mut texts = match &recording.series {
            None => vec![Vec::new(); 3],
            Some(series) => vec![
                histograms::log_lines(row.trial_id, series, start)?.into_bytes(),
                histograms::quantile_lines(row.trial_id, series)?,
                histograms::second_lines(row.trial_id, series)?,
            ],
        };
        texts.extend(self.host_lines(&row, &recording.hosts, start)?);
        texts.push(lines(&row, !self.has_header)?);
        self.files.append(&texts)?;
        self.has_header = true;
        self.place.is_used = true;
        Ok(row)
    }

    /// What a trial adds to hosts.csv and to the log of each host; nothing of a trial that has no load window.
    fn host_lines(&self, row: &Row, hosts: &[HostRecording<'_>], start: Duration) -> Result<Vec<Vec<u8>>> {
        let known = self.metadata.configuration.hosts.len();
        if known == 0 {
            return Ok(Vec::new());
        }
        let rows = hosts.iter().map(|host| HostRow { trial_id: row.trial_id, ..host.row.clone() }).collect::<Vec<_>>();
        let mut texts = vec![hosts::lines(&rows)?];
        for host in hosts {
            texts.push(histograms::log_lines(row.trial_id, &host.series, start)?.into_bytes());
        }
        texts.resize(1 + known, Vec::new());
        Ok(texts)
    }

    /// Ends the session. `counted` holds for each row whether it counts, which is not known before.
    ///
    /// # Errors
    /// If a file cannot be written; the error names it.
    pub fn end(mut self, state: State, counted: &[bool]) -> Result<PathBuf> {
        write_trials(&self.place.folder, Some(counted))?;
        self.write_metadata(state)?;
        self.place.is_used = true;
        Ok(self.place.folder.clone())
    }

    /// Writes session.json with this state.
    fn write_metadata(&self, state: State) -> Result<()> {
        let mut metadata = Metadata { state, ..self.metadata.clone() };
        if state == State::Complete {
            // Only a resume needs these.
            (metadata.started_at_monotonic_ns, metadata.boot_mark) = (None, None);
        }
        let mut value = serde_json::to_value(&metadata)?;
        if state == State::Complete {
            // Nor does a reader need the path of a guest.
            value = origin::without_home_in(value);
        }
        replace(&self.place.folder, METADATA, (serde_json::to_string_pretty(&value)? + "\n").as_bytes())
    }
}

/// Whether generators are on hosts of the same names in the same order, with as many threads each. A host may have been
/// booted since.
fn are_same_hosts(then: &[HostRecord], now: &[HostRecord]) -> bool {
    let of = |hosts: &[HostRecord]| hosts.iter().map(|host| (host.name.clone(), host.threads)).collect::<Vec<_>>();
    of(then) == of(now)
}

/// Whether no file that guests are made of has changed. One that was not there, or is not there any more, tells nothing.
fn are_same_guests(then: &GuestFiles, now: &GuestFiles) -> bool {
    then.iter().all(|(guest, files)| {
        let same = |word: &String, checksum: &String| now.get(guest)?.get(word).map(|now| now == checksum);
        files.iter().all(|(word, checksum)| same(word, checksum).unwrap_or(true))
    })
}

/// Lines of logic in a region of each server's file that has it.
fn region_lines(region: &str) -> BTreeMap<String, u64> {
    let lines = servers::SERVERS.iter().map(|server| (server.name.to_owned(), server.region_lines(region) as u64));
    lines.filter(|(_, lines)| *lines > 0).collect()
}

/// Replaces a file by renaming, so that readers never see half of it.
fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let (file, part) = (folder.join(name), folder.join(format!(".{name}.part")));
    let written = File::create(&part).and_then(|mut open| {
        open.write_all(bytes)?;
        // After a power failure the name must not lead to an empty file.
        open.sync_all()
    });
    let replaced = written.and_then(|()| fs::rename(&part, &file));
    replaced.inspect_err(|_| drop(fs::remove_file(&part))).with_context(|| format!("cannot write {}", file.display()))
}

/// Rewrites trials.csv with the column `counted` filled in, or emptied.
fn write_trials(folder: &Path, counted: Option<&[bool]>) -> Result<()> {
    let trials = read_rows(folder)?;
    let mut text = Vec::new();
    for (index, mut row) in trials.rows.into_iter().enumerate() {
        let counts = counted.and_then(|counted| counted.get(index).copied());
        row.counted = counts;
        text.extend(lines(&row, index == 0)?);
    }
    if text.is_empty() { Ok(()) } else { replace(folder, TRIALS, &text) }
}

/// Cuts off the remains of a crash after the last complete trial.
fn cut_leftovers(folder: &Path, trials: &Trials, growing: &[String]) -> Result<()> {
    let file = folder.join(TRIALS);
    if trials.torn {
        let cut = fs::OpenOptions::new().write(true).open(&file).and_then(|file| file.set_len(trials.whole_bytes));
        cut.with_context(|| format!("cannot write {}", file.display()))?;
    }
    let ids = trials.rows.iter().map(|row| row.trial_id).collect();
    for name in growing.iter().filter(|name| *name != TRIALS) {
        if recover::cut(&folder.join(name), &ids)? {
            terminal::say(format_args!("{name}: what belongs to no trial of trials.csv was cut off"));
        }
    }
    Ok(())
}

/// Start of a resumed session by CLOCK_MONOTONIC. After a reboot it is derived from the wall clock, which may have been set;
/// so it is at least as long ago as the last recorded trial.
fn began(metadata: &Metadata, trials: &Trials) -> i64 {
    if let Some(started_ns) = metadata.started_at_monotonic_ns.filter(|_| origin::is_this_boot(metadata)) {
        return started_ns as i64;
    }
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    let last_ms = trials.rows.iter().filter_map(|row| row.started_after_ms).max().unwrap_or(0);
    let age_ms = now_ms.saturating_sub_unsigned(metadata.started_at_unix_ms).max(last_ms as i64);
    (clock::now_ns() as i64).saturating_sub(age_ms.saturating_mul(1_000_000))
}

/// The files that every trial of a session appends to. The one that makes it a trial comes last: a trial with a row there has
/// everything.
fn growing(configuration: &Configuration) -> Vec<String> {
    let mut names: Vec<String> = [LOG, QUANTILES, WINDOWS].map(str::to_owned).to_vec();
    if !configuration.hosts.is_empty() {
        names.push(HOSTS.to_owned());
        names.extend(configuration.hosts.iter().map(|host| format!("{}/{LOG}", hosts::folder(host.host, &host.name))));
    }
    names.push(TRIALS.to_owned());
    names
}

/// What stands at the beginning of each of them.
fn headers(metadata: &Metadata) -> Result<Vec<Vec<u8>>> {
    let log = histograms::log_header(metadata.started_at_unix_ms).into_bytes();
    let mut headers = vec![log.clone(), histograms::QUANTILES_HEADER.into(), histograms::SECONDS_HEADER.into()];
    let hosts = metadata.configuration.hosts.len();
    if hosts > 0 {
        headers.push(hosts::header()?);
        headers.extend(vec![log; hosts]);
    }
    // The columns of a trial come with the first one.
    headers.push(Vec::new());
    Ok(headers)
}

/// The headers of those files that have none.
fn missing_headers(folder: &Path, metadata: &Metadata, growing: &[String]) -> Result<Vec<Vec<u8>>> {
    let is_empty = |name: &String| fs::metadata(folder.join(name)).is_ok_and(|file| file.len() == 0);
    let headers = headers(metadata)?.into_iter().zip(growing);
    Ok(headers.map(|(header, name)| if is_empty(name) { header } else { Vec::new() }).collect())
}

/// A line of trials.csv, preceded by the header if `with_header`.
pub(super) fn lines(row: &Row, with_header: bool) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    if with_header {
        csv.write_record(Row::columns())?;
    }
    csv.write_record(row.values().iter().map(written))?;
    Ok(csv.into_inner()?)
}
