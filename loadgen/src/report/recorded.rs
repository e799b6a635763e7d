//! A session as it was recorded, and what it says.

use std::path::Path;

use anyhow::Result;

use super::comparison::Used;
use crate::{
    judge::{
        counted::of_cell,
        verdicts::{Judgement, Places, judge},
    },
    record::{Configuration, Metadata, PlanRecord, Row, State, Trials, is_running, read_rows},
    terminal,
    text::plain,
};

/// A session, read from its files and judged.
pub(super) struct Recorded {
    pub(super) metadata: Metadata,
    pub(super) rows: Vec<Row>,
    pub(super) arms: Vec<String>,
    pub(super) places: Places,
    pub(super) judgement: Judgement,
}

impl Recorded {
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
        let arms = arms(&metadata, &rows);
        let places = metadata.configuration.primary.clone().unwrap_or_default();
        let judgement = judge(&rows, &arms, &places);
        Ok(Self { metadata, rows, arms, places, judgement })
    }

    /// The rows that count of the cells that the primary claims come from.
    pub(super) fn used(&self) -> Used<'_> {
        Used { latency: of_cell(&self.rows, &self.places.latency), cpu: of_cell(&self.rows, &self.places.cpu) }
    }

    /// Why nothing is claimed, if so.
    pub(super) fn silence(&self) -> Option<&'static str> {
        self.judgement.silence(self.is_complete())
    }

    pub(super) fn is_complete(&self) -> bool {
        self.metadata.state == State::Complete
    }

    pub(super) fn configuration(&self) -> &Configuration {
        &self.metadata.configuration
    }

    /// The plan of a cell, or of the only load; `None` if session.json was cut.
    pub(super) fn plan_of(&self, cell: &str) -> Option<&PlanRecord> {
        let configuration = self.configuration();
        let found = configuration.cells.iter().find(|other| other.cell == cell);
        found.map_or(configuration.plan.as_ref(), |cell| Some(&cell.plan))
    }
}

/// What session.json says, to be shown. Without its end the trials still say something, but nothing is claimed of them.
fn metadata(folder: &Path) -> Result<Metadata> {
    let mut metadata = match Metadata::read_to_show(folder) {
        Err(error) if error.root_cause().downcast_ref::<serde_json::Error>().is_some_and(serde_json::Error::is_eof) => {
            let file = folder.join("session.json");
            terminal::say(format_args!("warning: {} is cut: the plan is not known", plain(&file.to_string_lossy())));
            Metadata::unknown()
        }
        metadata => metadata?,
    };
    if metadata.state == State::Running && !is_running(folder) {
        metadata.state = State::Partial;
    }
    Ok(metadata)
}

/// The arms of the primary claims in the order in which they were asked for; a single run has one.
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
