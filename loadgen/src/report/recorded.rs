//! A session as it was recorded, and what it says.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde_json::Value;

use super::comparison::Used;
use crate::{
    record::{Figures, Row, read_rows},
    verdicts::{Judgement, Places, blocks, judge},
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
        let file = folder.join("session.json");
        let about = fs::read_to_string(&file)
            .with_context(|| format!("{} holds no session: there is no session.json", folder.display()))?;
        let about: Value = serde_json::from_str(&about).with_context(|| format!("cannot read {}", file.display()))?;
        let rows = read_rows(folder)?;
        let arms = arms(&about, &rows);
        let place = |key: &str| about["configuration"]["primary"][key].as_str().unwrap_or_default().to_owned();
        let places = Places { latency: place("latency"), cpu: place("cpu") };
        let judgement = judge(&rows, &arms, &places);
        Ok(Self { about, rows, arms, places, judgement })
    }

    /// The rows of the blocks that the primary claims rest on.
    pub(super) fn used(&self) -> Used<'_> {
        let of = |cell: &str| blocks(&self.rows, &self.arms, cell).into_iter().flatten().collect();
        Used { latency: of(&self.places.latency), cpu: of(&self.places.cpu) }
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
