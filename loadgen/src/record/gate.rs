//! The gates that a trial was held against.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A threshold from which a trial is flagged, and one from which it is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// Beyond this the trial is flagged.
    pub flag: f64,
    /// Beyond this it is invalid; infinite if it never is, which JSON has as null.
    #[serde(serialize_with = "finite", deserialize_with = "infinite")]
    pub invalid: f64,
}

fn finite<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    Some(*number).filter(|number| number.is_finite()).serialize(serializer)
}

fn infinite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
}
