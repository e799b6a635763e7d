//! A session as it was recorded, and what it says.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::comparison::Used;
use crate::{
    judge::{
        counted::of_cell,
        verdicts::{Judgement, Places, judge},
    },
    record::{Figures, Row, Trials, is_running, read_about, read_rows},
    terminal,
    text::{plain, plain_value},
};

/// A session, read from its files and judged.
pub(super) struct Recorded {
    pub(super) about: Value,
    pub(super) rows: Vec<Row>,
    pub(super) arms: Vec<String>,
    pub(super) places: Places,
    pub(super) judgement: Judgement,
}

impl Recorded {
    /// # Errors
    /// If the folder holds no session.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let about = about(folder)?;
        let Trials { rows, torn, .. } = read_rows(folder)?;
        if torn {
            terminal::say(format_args!(
                "warning: {}: the last row is torn and left out",
                plain(&folder.join("trials.csv").to_string_lossy())
            ));
        }
        let arms = arms(&about, &rows);
        let place = |key: &str| about["configuration"]["primary"][key].as_str().unwrap_or_default().to_owned();
        let places = Places { latency: place("latency"), cpu: place("cpu") };
        let judgement = judge(&rows, &arms, &places);
        Ok(Self { about, rows, arms, places, judgement })
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
        self.about["state"] == "complete"
    }

    pub(super) fn configuration(&self) -> &Value {
        &self.about["configuration"]
    }

    /// The plan of a cell, or of the only load.
    pub(super) fn plan_of(&self, cell: &str) -> &Value {
        let cells = self.configuration()["cells"].as_array();
        let found = cells.and_then(|cells| cells.iter().find(|other| other["cell"] == cell));
        found.map_or(&self.configuration()["plan"], |cell| &cell["plan"])
    }
}

/// What session.json says, to be shown. Without its end the trials still say something, but nothing is claimed of them.
fn about(folder: &Path) -> Result<Value> {
    let mut about = match read_about(folder) {
        Err(error) if error.root_cause().downcast_ref::<serde_json::Error>().is_some_and(serde_json::Error::is_eof) => {
            let file = folder.join("session.json");
            terminal::say(format_args!("warning: {} is cut: the plan is not known", plain(&file.to_string_lossy())));
            json!({ "state": "partial" })
        }
        about => plain_value(about?),
    };
    if about["state"] == "running" && !is_running(folder) {
        about["state"] = "partial".into();
    }
    Ok(about)
}

/// The arms of the primary claims in the order in which they were asked for; a single run has one.
fn arms(about: &Value, rows: &[Row]) -> Vec<String> {
    let configuration = &about["configuration"];
    let cells = configuration["cells"].as_array().into_iter().flatten();
    let primary = cells.into_iter().find(|cell| cell["cell"] == configuration["primary"]["latency"]);
    let named = primary.map_or(&configuration["arms"], |cell| &cell["arms"]);
    let mut arms: Vec<String> =
        named.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    for row in rows.iter().map(Figures).filter(|_| named.is_null()) {
        let arm = row.text("arm").to_owned();
        if !arms.contains(&arm) {
            arms.push(arm);
        }
    }
    arms
}
