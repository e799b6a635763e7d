//! A recorded session with its claims.

use std::path::Path;

use anyhow::Result;

use crate::{
    judge::{
        counted::of_cell,
        verdicts::{Judgement, WithheldReason, judge},
    },
    record::{Metadata, PlanRecord, Primary, Row, State, Trials, check_hosts, is_running, read_rows},
    terminal,
    text::plain,
};

/// A session, read from its files and judged.
pub(super) struct JudgedSession {
    pub(super) metadata: Metadata,
    pub(super) rows: Vec<Row>,
    pub(super) arms: Vec<String>,
    /// The cells that the primary claims come from.
    pub(super) primary: Primary,
    pub(super) judgement: Judgement,
}

/// The rows that count of the cells that the primary claims come from.
pub(super) struct PrimaryRows<'a> {
    pub(super) latency: Vec<&'a Row>,
    pub(super) cpu: Vec<&'a Row>,
}

impl JudgedSession {
    /// # Errors
    /// If the folder holds no session.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let metadata = metadata(folder)?;
        let Trials { rows, torn, .. } = read_rows(folder)?;
        if torn {
            terminal::say(format_args!(
                "warning: {}: the last row is torn and left out",
                plain(&folder.join("trials.csv").to_string_lossy())
            ));
        }
        let hosts = &metadata.configuration.hosts;
        if !hosts.is_empty() {
            check_hosts(folder, hosts, &rows)?;
        }
        Ok(Self::of(metadata, rows))
    }

    pub(super) fn of(metadata: Metadata, rows: Vec<Row>) -> Self {
        let arms = arms(&metadata, &rows);
        let primary = metadata.configuration.primary.clone().unwrap_or_default();
        let judgement = judge(&rows, &arms, &primary);
        Self { metadata, rows, arms, primary, judgement }
    }

    pub(super) fn primary_rows(&self) -> PrimaryRows<'_> {
        PrimaryRows { latency: of_cell(&self.rows, &self.primary.latency), cpu: of_cell(&self.rows, &self.primary.cpu) }
    }

    /// Whether all the blocks that were planned are there.
    pub(super) fn is_complete(&self) -> bool {
        self.metadata.state == State::Complete
    }

    /// Whether the cells that primary claims come from were not chosen.
    pub(super) fn is_exploratory(&self) -> bool {
        let configuration = &self.metadata.configuration;
        !configuration.cells.is_empty() && configuration.primary.is_none()
    }

    /// Why no primary claim is made, if so.
    pub(super) fn withheld_reason(&self) -> Option<WithheldReason> {
        match self.judgement.withheld_reason(self.is_complete()) {
            Some(WithheldReason::Partial) => Some(WithheldReason::Partial),
            _ if self.is_exploratory() => Some(WithheldReason::Exploratory),
            reason => reason,
        }
    }

    /// The plan of a cell, or of the only load; `None` if session.json was cut.
    pub(super) fn plan_of(&self, cell: &str) -> Option<&PlanRecord> {
        let configuration = &self.metadata.configuration;
        let found = configuration.cells.iter().find(|other| other.cell == cell);
        found.map_or(configuration.plan.as_ref(), |cell| Some(&cell.plan))
    }
}

/// session.json with its texts escaped. If its end is missing, the trials are still shown, but no claim is made.
fn metadata(folder: &Path) -> Result<Metadata> {
    let mut metadata = match Metadata::read_to_show(folder) {
        Err(error) if error.root_cause().downcast_ref::<serde_json::Error>().is_some_and(serde_json::Error::is_eof) => {
            let file = folder.join("session.json");
            terminal::say(format_args!(
                "warning: {} is truncated: the plan is unknown",
                plain(&file.to_string_lossy())
            ));
            Metadata::unknown()
        }
        metadata => metadata?,
    };
    if metadata.state == State::Running && !is_running(folder) {
        metadata.state = State::Partial;
    }
    Ok(metadata)
}

/// The arms of the primary claims in the order of the command line; a single run has one.
fn arms(metadata: &Metadata, rows: &[Row]) -> Vec<String> {
    let configuration = &metadata.configuration;
    let latency = configuration.primary.as_ref().map(|primary| primary.latency.as_str());
    let primary = configuration.cells.iter().find(|cell| Some(cell.cell.as_str()) == latency);
    let named = primary.map_or(&configuration.arms, |cell| &cell.arms);
    let mut arms = named.clone();
    for row in rows.iter().filter(|_| named.is_empty()) {
        if !arms.contains(&row.arm) {
            arms.push(row.arm.clone());
        }
    }
    arms
}
