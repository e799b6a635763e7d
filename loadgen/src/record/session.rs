//! A session as it is recorded.

use std::{
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
    folder::Place,
    format::{GROWING, METADATA, TRIALS},
    histograms, origin, read_rows, recover,
    row::written,
};
use crate::{observe, terminal};

/// What a trial adds to a session.
#[derive(Clone, Debug)]
pub struct Recording<'a> {
    /// Its row, but for what only the session knows.
    pub row: Row,
    /// When it began, by CLOCK_MONOTONIC; `None` if there was no trial.
    pub started_at_ns: Option<u64>,
    /// The distributions of its load window, if there was one.
    pub series: Option<Series<'a>>,
}

/// What a session says of itself at its beginning.
#[derive(Clone, Debug, Default)]
pub struct Preamble {
    /// What reproduces it.
    pub configuration: Configuration,
    /// Every gate, by its name.
    pub gates: Vec<(&'static str, Gate)>,
    /// Every other limit, by its name.
    pub limits: Vec<(&'static str, f64)>,
    /// Looks at the host's facts.
    pub doctor: Option<fn(&observe::Facts) -> Vec<observe::fitness::HostCheck>>,
}

/// An open session.
#[derive(Debug)]
pub struct Session {
    place: Place,
    build: Build,
    metadata: Metadata,
    /// When it began, in nanoseconds of CLOCK_MONOTONIC; of one that was begun before the host was started, below 0.
    started_ns: i64,
    files: Files,
    has_header: bool,
}

impl Session {
    /// Begins a session in its folder.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn create(place: Place, preamble: Preamble) -> Result<Self> {
        let build = build();
        let environment = observe::Facts { host: place.host.clone(), ..observe::facts() };
        let named = |name: &str| name.to_owned();
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
            logic_lines: servers::SERVERS.iter().map(|it| (named(it.name), it.logic_lines() as u64)).collect(),
            environment,
        };
        let mut files = Files::open(&place.folder, &GROWING)?;
        files.append(&headers(metadata.started_at_unix_ms))?;
        let started_ns = place.started_ns as i64;
        let session = Self { place, build, metadata, started_ns, files, has_header: false };
        session.write_metadata(State::Running)?;
        Ok(session)
    }

    /// Resumes an interrupted session of the same build and `configuration`; what is measured anew may differ.
    /// `metadata` is what it says of itself, `trials` what is left of it; what belongs to none of them is cut from its
    /// files.
    ///
    /// # Errors
    /// If it cannot be written, or was recorded otherwise: such trials must not be mixed.
    pub fn reopen(
        mut place: Place,
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
        ] {
            let folder = place.folder.display();
            ensure!(is_same, "{folder} was recorded with another {what}: begin a session of its own");
        }
        place.id.clone_from(&metadata.session_id);
        cut_leftovers(&place.folder, trials)?;
        write_trials(&place.folder, None)?;
        let mut files = Files::open(&place.folder, &GROWING)?;
        // A crash may have come before the first lines.
        files.append(&missing_headers(&place.folder, metadata.started_at_unix_ms))?;
        let started_ns = began(&metadata, trials);
        let session = Self { place, build, metadata, started_ns, files, has_header: trials.whole_bytes > 0 };
        session.write_metadata(State::Running)?;
        Ok(session)
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.place.folder
    }

    /// Adds a trial to every file, or to none if one cannot be written; returns its row.
    ///
    /// # Errors
    /// If a file cannot be written; it is named.
    pub fn append(&mut self, recording: Recording<'_>) -> Result<Row> {
        let mut row = recording.row;
        self.build.stamp(&mut row);
        row.session_id.clone_from(&self.place.id);
        let after_ns = recording.started_at_ns.map(|at_ns| (at_ns as i64 - self.started_ns).max(0) as u64);
        row.started_after_ms = after_ns.map(|ns| ns / 1_000_000);
        let mut texts = vec![Vec::new(); GROWING.len()];
        if let Some(series) = &recording.series {
            let start = Duration::from_nanos(after_ns.unwrap_or_default());
            texts[0] = histograms::log_lines(row.trial_id, series, start)?.into_bytes();
            texts[1] = histograms::quantile_lines(row.trial_id, series)?;
            texts[2] = histograms::second_lines(row.trial_id, series)?;
        }
        texts[3] = lines(&row, !self.has_header)?;
        self.files.append(&texts)?;
        self.has_header = true;
        self.place.is_used = true;
        Ok(row)
    }

    /// Ends the session. `counted` says for each of its rows whether it counts, which is known only now.
    ///
    /// # Errors
    /// If a file cannot be written; it is named.
    pub fn end(mut self, state: State, counted: &[bool]) -> Result<PathBuf> {
        write_trials(&self.place.folder, Some(counted))?;
        self.write_metadata(state)?;
        self.place.is_used = true;
        Ok(self.place.folder.clone())
    }

    /// Says in session.json where the session stands.
    fn write_metadata(&self, state: State) -> Result<()> {
        let mut metadata = Metadata { state, ..self.metadata.clone() };
        if state == State::Complete {
            // What only a resume needs.
            (metadata.started_at_monotonic_ns, metadata.boot_mark) = (None, None);
        }
        let mut value = serde_json::to_value(&metadata)?;
        if state == State::Complete {
            // Where a guest lies, too.
            value = origin::without_home_in(value);
        }
        replace(&self.place.folder, METADATA, (serde_json::to_string_pretty(&value)? + "\n").as_bytes())
    }
}

/// A new file in place of an old one, renamed there so that there is never half of it.
fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let (file, part) = (folder.join(name), folder.join(format!(".{name}.part")));
    let written = File::create(&part).and_then(|mut open| {
        open.write_all(bytes)?;
        // A name that survives a loss of power must not lead to an empty file.
        open.sync_all()
    });
    let replaced = written.and_then(|()| fs::rename(&part, &file));
    replaced.inspect_err(|_| drop(fs::remove_file(&part))).with_context(|| format!("cannot write {}", file.display()))
}

/// Writes trials.csv again with the column `counted` filled in, or with nothing in it.
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

/// Cuts off what a crash left behind the last whole trial.
fn cut_leftovers(folder: &Path, trials: &Trials) -> Result<()> {
    let file = folder.join(TRIALS);
    if trials.torn {
        let cut = fs::OpenOptions::new().write(true).open(&file).and_then(|file| file.set_len(trials.whole_bytes));
        cut.with_context(|| format!("cannot write {}", file.display()))?;
    }
    let ids = trials.rows.iter().map(|row| row.trial_id).collect();
    for name in GROWING.into_iter().filter(|name| *name != TRIALS) {
        if recover::cut(&folder.join(name), &ids)? {
            terminal::say(format_args!("{name}: what belongs to no trial of trials.csv was cut off"));
        }
    }
    Ok(())
}

/// When a session that is gone on with began. After a start of the host only its wall clock tells, and it may have been
/// set; no trial begins before one that is recorded.
fn began(metadata: &Metadata, trials: &Trials) -> i64 {
    if let Some(started_ns) = metadata.started_at_monotonic_ns.filter(|_| origin::is_this_boot(metadata)) {
        return started_ns as i64;
    }
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    let last_ms = trials.rows.iter().filter_map(|row| row.started_after_ms).max().unwrap_or(0);
    let age_ms = now_ms.saturating_sub_unsigned(metadata.started_at_unix_ms).max(last_ms as i64);
    (clock::now_ns() as i64).saturating_sub(age_ms.saturating_mul(1_000_000))
}

/// What the files begin with.
fn headers(started_unix_ms: u64) -> [Vec<u8>; 4] {
    let log = histograms::log_header(started_unix_ms);
    [log.into_bytes(), histograms::QUANTILES_HEADER.into(), histograms::SECONDS_HEADER.into(), Vec::new()]
}

/// Of those that are empty.
fn missing_headers(folder: &Path, started_unix_ms: u64) -> Vec<Vec<u8>> {
    let is_empty = |name: &str| fs::metadata(folder.join(name)).is_ok_and(|file| file.len() == 0);
    let headers = headers(started_unix_ms).into_iter().zip(GROWING);
    headers.map(|(header, name)| if is_empty(name) { header } else { Vec::new() }).collect()
}

/// A row of trials.csv, with the line of its columns above it.
pub(super) fn lines(row: &Row, with_header: bool) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    if with_header {
        csv.write_record(Row::columns())?;
    }
    csv.write_record(row.values().iter().map(written))?;
    Ok(csv.into_inner()?)
}
