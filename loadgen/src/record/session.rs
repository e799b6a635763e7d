//! A session as it is recorded.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use servers::clock;

use super::{
    Build, Entry, Place, Row, Trials,
    columns::{SCHEMA_VERSION, row},
    environment,
    files::{self, Files},
    histograms, origin,
    place::LOCKED,
    read_rows, recover,
};
use crate::{command::doctor, measure::validity, observe, terminal};

/// What every trial adds to. Last the one that makes it a trial: what has a row there has everything.
const GROWING: [&str; 4] = [LOCKED, "quantiles.csv", "windows.csv", "trials.csv"];

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Trials are being added.
    Running,
    /// Every planned trial is there.
    Complete,
    /// It was cut short; what there is may be read.
    Partial,
}

/// An open session.
#[derive(Debug)]
pub struct Session {
    place: Place,
    build: Build,
    about: Value,
    /// When it began, in nanoseconds of CLOCK_MONOTONIC; of one that was begun before the host was started, below 0.
    started_ns: i64,
    files: Files,
    has_header: bool,
}

impl Session {
    /// Begins a session in its folder. `configuration` is what reproduces it.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn create(place: Place, configuration: Value) -> Result<Self> {
        let build = environment::build();
        let mut facts = observe::facts();
        facts["host"] = place.host.clone().into();
        let about = json!({
            "schema_version": SCHEMA_VERSION,
            "session_id": place.id,
            "started_at_unix_ms": place.started.as_millis() as u64,
            "started_at_monotonic_ns": place.started_ns,
            "boot_mark": origin::boot_mark(&place.id),
            "command": origin::command(std::env::args_os().map(|word| word.to_string_lossy().into_owned())),
            "configuration": configuration,
            "gates": validity::thresholds(),
            "build": origin::without_home(environment::facts(&build)),
            "doctor": doctor::record(&facts),
            "logic_lines": servers::SERVERS
                .iter()
                .map(|server| (server.name.to_owned(), server.logic_lines().into()))
                .collect::<serde_json::Map<String, Value>>(),
            "environment": facts,
        });
        let mut files = Files::open(&place.folder, &GROWING)?;
        files.append(&headers(place.started.as_millis() as u64))?;
        let started_ns = place.started_ns as i64;
        let session = Self { place, build, about, started_ns, files, has_header: false };
        session.write_about(State::Running)?;
        Ok(session)
    }

    /// Goes on with an interrupted session of the same build and `configuration`; what is measured anew may differ.
    /// `about` is its record, `trials` what is left of it; what belongs to none of them is cut from its files.
    ///
    /// # Errors
    /// If it cannot be written, or was recorded otherwise: such trials must not be mixed.
    pub fn reopen(mut place: Place, about: Value, trials: &Trials, configuration: &Value) -> Result<Self> {
        let build = environment::build();
        for (what, then, now) in [
            ("build", &about["build"]["binary_sha256"], &environment::facts(&build)["binary_sha256"]),
            ("plan", &about["configuration"]["plan"], &configuration["plan"]),
            ("arms", &about["configuration"]["arms"], &configuration["arms"]),
            ("cells", &about["configuration"]["cells"], &configuration["cells"]),
        ] {
            if then != now {
                bail!("{} was recorded with another {what}: begin a session of its own", place.folder.display());
            }
        }
        place.id = about["session_id"].as_str().unwrap_or_default().to_owned();
        cut_leftovers(&place.folder, trials)?;
        write_trials(&place.folder, None)?;
        let mut files = Files::open(&place.folder, &GROWING)?;
        // A crash may have come before the first lines.
        files.append(&missing_headers(&place.folder, about["started_at_unix_ms"].as_u64().unwrap_or(0)))?;
        let started_ns = began(&about, trials);
        let session = Self { place, build, about, started_ns, files, has_header: trials.whole_bytes > 0 };
        session.write_about(State::Running)?;
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
    pub fn append(&mut self, entry: &Entry<'_>) -> Result<Row> {
        let mut row = row(&self.place.id, &self.build, entry);
        let mut texts = vec![Vec::new(); GROWING.len()];
        if let Ok((trial, _)) = entry.measured {
            let after_ns = (trial.started_at_ns as i64 - self.started_ns).max(0) as u64;
            set(&mut row, "started_after_ms", (after_ns / 1_000_000).into());
            if let Some(load) = &trial.load {
                let (start, length) = (Duration::from_nanos(after_ns), Duration::from_nanos(load.span_ns));
                texts[0] = histograms::log_lines(entry.trial_id, &load.window, start, length)?.into_bytes();
                texts[1] = histograms::quantile_lines(entry.trial_id, &load.window)?;
                texts[2] = histograms::second_lines(entry.trial_id, &load.window)?;
            }
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
        self.write_about(state)?;
        self.place.is_used = true;
        Ok(self.place.folder.clone())
    }

    /// Says in session.json where the session stands.
    fn write_about(&self, state: State) -> Result<()> {
        let mut about = self.about.clone();
        about["state"] = match state {
            State::Running => "running",
            State::Complete => "complete",
            State::Partial => "partial",
        }
        .into();
        if state == State::Complete {
            // What only a resume needs: where a guest lies, and who may run it.
            about = origin::without_home(about);
            if let Some(about) = about.as_object_mut() {
                about.retain(|key, _| !["started_at_monotonic_ns", "boot_mark"].contains(&key.as_str()));
            }
        }
        replace(&self.place.folder, "session.json", (serde_json::to_string_pretty(&about)? + "\n").as_bytes())
    }
}

/// What session.json of a folder says.
///
/// # Errors
/// If there is none, or none that can be read: one line.
pub fn read_about(folder: &Path) -> Result<Value> {
    let file = folder.join("session.json");
    let bytes = files::read(&file)
        .with_context(|| format!("{} holds no session: there is no session.json", folder.display()))?;
    let about: Value = serde_json::from_slice(&bytes).with_context(|| format!("cannot read {}", file.display()))?;
    ensure!(about.is_object(), "cannot read {}: it is no object", file.display());
    Ok(about)
}

/// Whether its session was begun by this user on this host, since it was started.
pub fn is_own(folder: &Path, about: &Value) -> bool {
    origin::is_own(folder, about)
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
        set(&mut row, "counted", counts.map_or(Value::Null, Value::from));
        text.extend(lines(&row, index == 0)?);
    }
    if text.is_empty() { Ok(()) } else { replace(folder, "trials.csv", &text) }
}

/// Cuts off what a crash left behind the last whole trial.
fn cut_leftovers(folder: &Path, trials: &Trials) -> Result<()> {
    let file = folder.join("trials.csv");
    if trials.torn {
        let cut = fs::OpenOptions::new().write(true).open(&file).and_then(|file| file.set_len(trials.whole_bytes));
        cut.with_context(|| format!("cannot write {}", file.display()))?;
    }
    let ids = trials.rows.iter().filter_map(|row| super::Figures(row).get("trial_id")).map(|id| id as u64).collect();
    for name in GROWING.into_iter().filter(|name| *name != "trials.csv") {
        if recover::cut(&folder.join(name), &ids)? {
            terminal::say(format_args!("{name}: what belongs to no trial of trials.csv was cut off"));
        }
    }
    Ok(())
}

/// When a session that is gone on with began. After a start of the host only its wall clock tells, and it may have been
/// set; no trial begins before one that is recorded.
fn began(about: &Value, trials: &Trials) -> i64 {
    if let Some(started_ns) = about["started_at_monotonic_ns"].as_i64().filter(|_| origin::is_this_boot(about)) {
        return started_ns;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    let last_ms = trials.rows.iter().filter_map(|row| super::Figures(row).get("started_after_ms")).fold(0.0, f64::max);
    let age_ms = now.saturating_sub(about["started_at_unix_ms"].as_i64().unwrap_or(now)).max(last_ms as i64);
    (clock::now_ns() as i64).saturating_sub(age_ms.saturating_mul(1_000_000))
}

fn set(row: &mut Row, column: &str, value: Value) {
    match row.iter_mut().find(|(name, _)| name == column) {
        Some((_, old)) => *old = value,
        None => row.push((column.to_owned(), value)),
    }
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
fn lines(row: &Row, with_header: bool) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    if with_header {
        csv.write_record(row.iter().map(|(name, _)| name))?;
    }
    csv.write_record(row.iter().map(|(_, value)| cell(value)))?;
    Ok(csv.into_inner()?)
}

/// A value as a CSV cell: empty if it is unknown.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}
