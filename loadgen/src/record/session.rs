//! A session's folder.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{
    Build, Entry, Row,
    columns::{SCHEMA_VERSION, row},
    environment, histograms,
};
use crate::{doctor, observe, validity};

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
    folder: PathBuf,
    id: String,
    build: Build,
    about: Value,
    started: Duration,
    trials: csv::Writer<File>,
    quantiles: csv::Writer<File>,
    windows: csv::Writer<File>,
    log: File,
    has_header: bool,
}

impl Session {
    /// Makes the folder, which must not exist: `folder`, or one named for time and host in the workspace's results/
    /// (without a workspace, in ./results). `configuration` is what reproduces the session.
    ///
    /// # Errors
    /// If the folder exists or cannot be written.
    pub fn create(folder: Option<&Path>, configuration: Value) -> Result<Self> {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let facts = observe::facts();
        let id = format!("{}-{}", stamp(started), facts["host"].as_str().unwrap_or("unknown"));
        let folder = folder.map_or_else(|| results().join(&id), Path::to_owned);
        if folder.exists() {
            bail!("{} exists already: a recorded session is never changed, so name another folder", folder.display());
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let build = environment::build();
        let about = json!({
            "schema_version": SCHEMA_VERSION,
            "session_id": id,
            "started_at_unix_ms": started.as_millis() as u64,
            "command": std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>(),
            "configuration": configuration,
            "gates": validity::thresholds(),
            "build": environment::facts(&build),
            "doctor": doctor::record(&facts),
            "logic_lines": servers::SERVERS
                .iter()
                .map(|server| (server.name.to_owned(), server.logic_lines().into()))
                .collect::<serde_json::Map<String, Value>>(),
            "environment": facts,
        });
        let create = |name: &str| File::create(folder.join(name)).with_context(|| format!("cannot write {name}"));
        let mut log = create("latency.hlog")?;
        log.write_all(histograms::log_header(started.as_millis() as u64).as_bytes())?;
        let mut quantiles = csv::Writer::from_writer(create("quantiles.csv")?);
        quantiles.write_record(["trial_id", "metric", "quantile", "value_ns", "eligible"])?;
        quantiles.flush()?;
        let mut windows = csv::Writer::from_writer(create("windows.csv")?);
        windows.write_record(["trial_id", "second", "metric", "count", "p50_ns", "p99_ns", "max_ns"])?;
        windows.flush()?;
        let trials = csv::Writer::from_writer(create("trials.csv")?);
        let session = Self { folder, id, build, about, started, trials, quantiles, windows, log, has_header: false };
        session.mark(State::Running)?;
        Ok(session)
    }

    /// Goes on with an interrupted session of the same build and `configuration`; what is measured anew may differ.
    ///
    /// # Errors
    /// If it cannot be read or written, or was recorded otherwise: such trials must not be mixed.
    pub fn reopen(folder: &Path, configuration: &Value) -> Result<Self> {
        let text = fs::read_to_string(folder.join("session.json")).context("cannot read session.json")?;
        let about: Value = serde_json::from_str(&text).context("cannot read session.json")?;
        let build = environment::build();
        for (what, then, now) in [
            ("build", &about["build"]["binary_sha256"], &environment::facts(&build)["binary_sha256"]),
            ("plan", &about["configuration"]["plan"], &configuration["plan"]),
            ("arms", &about["configuration"]["arms"], &configuration["arms"]),
            ("cells", &about["configuration"]["cells"], &configuration["cells"]),
        ] {
            if then != now {
                bail!("{} was recorded with another {what}: begin a session of its own", folder.display());
            }
        }
        let append = |name: &str| {
            let file = OpenOptions::new().append(true).open(folder.join(name));
            file.with_context(|| format!("cannot write {name}"))
        };
        let table =
            |name: &str| append(name).map(|file| csv::WriterBuilder::new().has_headers(false).from_writer(file));
        let session = Self {
            folder: folder.to_owned(),
            id: about["session_id"].as_str().unwrap_or_default().to_owned(),
            build,
            started: Duration::from_millis(about["started_at_unix_ms"].as_u64().unwrap_or(0)),
            trials: table("trials.csv")?,
            quantiles: table("quantiles.csv")?,
            windows: table("windows.csv")?,
            log: append("latency.hlog")?,
            // A session without a row has no header yet either.
            has_header: fs::metadata(folder.join("trials.csv"))?.len() > 0,
            about,
        };
        session.mark(State::Running)?;
        Ok(session)
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its name in the records.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Writes a trial to every file and flushes them; returns its row.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn append(&mut self, entry: &Entry<'_>) -> Result<Row> {
        let row = row(&self.id, &self.build, entry);
        if let Ok((trial, _)) = entry.measured
            && let Some(load) = &trial.load
        {
            let start = Duration::from_millis(trial.started_at_unix_ms).saturating_sub(self.started);
            let length = Duration::from_nanos(load.span_ns);
            self.log.write_all(histograms::log_lines(entry.trial_id, &load.window, start, length)?.as_bytes())?;
            self.log.flush()?;
            for (metric, histogram, _) in histograms::metrics(&load.window) {
                for quantile in histograms::quantiles(histogram) {
                    let (at, value) = (quantile.quantile.to_string(), quantile.value_ns.to_string());
                    let eligible = quantile.eligible.to_string();
                    self.quantiles.write_record([&entry.trial_id.to_string(), &metric, &at, &value, &eligible])?;
                }
            }
            self.quantiles.flush()?;
            for line in histograms::seconds(&load.window) {
                let id = (entry.trial_id, line.second, line.metric);
                self.windows.serialize((id, line.count, line.p50_ns, line.p99_ns, line.max_ns))?;
            }
            self.windows.flush()?;
        }
        // Last: a trial that has a row has everything.
        if !self.has_header {
            self.trials.write_record(row.iter().map(|(name, _)| name))?;
            self.has_header = true;
        }
        self.trials.write_record(row.iter().map(|(_, value)| cell(value)))?;
        self.trials.flush()?;
        Ok(row)
    }

    /// Says in session.json where the session stands.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn mark(&self, state: State) -> Result<()> {
        let mut about = self.about.clone();
        about["state"] = match state {
            State::Running => "running",
            State::Complete => "complete",
            State::Partial => "partial",
        }
        .into();
        // Renamed into place, so that there is never half of it.
        let (file, part) = (self.folder.join("session.json"), self.folder.join(".session.json.part"));
        fs::write(&part, serde_json::to_string_pretty(&about)? + "\n")?;
        fs::rename(part, file).context("cannot write session.json")
    }
}

/// A value as a CSV cell: empty if it is unknown.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// `2026-11-22T201500Z`.
fn stamp(since_1970: Duration) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since_1970).to_string().replace(':', "")
}

/// The workspace's results folder, or one in the current folder if this executable is installed elsewhere.
fn results() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().and_then(|folder| folder.canonicalize().ok());
    let executable = std::env::current_exe().unwrap_or_default();
    // By its folder: the file itself may have been replaced by a later build.
    let built = executable.parent().and_then(|folder| folder.canonicalize().ok()).unwrap_or_default();
    match workspace {
        Some(workspace) if built.starts_with(&workspace) => workspace.join("results"),
        _ => PathBuf::from("results"),
    }
}
