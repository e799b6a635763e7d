//! What a column of trials.csv holds. A cell is read by its column and never by its look: an arm may be called `007`.

use serde_json::{Number, Value};

use crate::text::plain;

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text; empty for unknown.
    Text,
    /// An integer.
    Number,
    /// A number that may have a fraction: a rate per second, or milliseconds that somebody asked for.
    Decimal,
    /// `true` or `false`.
    Flag,
}

const TEXTS: [&str; 21] = [
    "session_id",
    "arm",
    "server",
    "target_kind",
    "git_revision",
    "mode",
    "arrivals",
    "pacing",
    "placement",
    "congestion_control",
    "server_cpus",
    "loadgen_cpus",
    "valid",
    "invalid_reasons",
    "flags",
    "outcome",
    "bound_by",
    "error",
    "rate_profile",
    "payload_mix",
    "cell",
];

const FLAGS: [&str; 3] = ["debug_build", "nodelay", "counted"];

/// Of a column of this project; all others are numbers.
pub(super) fn kind(column: &str) -> Kind {
    match column {
        column if TEXTS.contains(&column) => Kind::Text,
        column if FLAGS.contains(&column) => Kind::Flag,
        column if column.ends_with("_per_sec") || column.ends_with("_ms") => Kind::Decimal,
        _ => Kind::Number,
    }
}

impl Kind {
    /// Whether a value may stand in such a column.
    pub(super) fn takes(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string() || value.is_null(),
            Self::Number => value.is_i64() || value.is_u64() || value.is_null(),
            Self::Decimal => value.is_number() || value.is_null(),
            Self::Flag => value.is_boolean() || value.is_null(),
        }
    }

    /// Reads a cell; an empty one is null.
    ///
    /// # Errors
    /// What it should be.
    pub(super) fn read(self, cell: &str) -> Result<Value, &'static str> {
        let number =
            |cell: &str| cell.parse::<i64>().map(Value::from).or_else(|_| cell.parse::<u64>().map(Value::from));
        // Of what is no finite number none is made: it would be null, and stand for unknown.
        let fraction = |cell: &str| cell.parse().ok().and_then(Number::from_f64).map(Value::Number).ok_or(());
        match (self, cell) {
            (_, "") => Ok(Value::Null),
            (Self::Text, cell) => Ok(plain(cell).into()),
            (Self::Number, cell) => number(cell).map_err(|_| "an integer"),
            (Self::Decimal, cell) => number(cell).or_else(|_| fraction(cell)).map_err(|_| "a number"),
            (Self::Flag, "true") => Ok(true.into()),
            (Self::Flag, "false") => Ok(false.into()),
            (Self::Flag, _) => Err("true or false"),
        }
    }
}
