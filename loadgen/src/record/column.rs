//! What a column of trials.csv may hold, and how it is written and read. A field is read by its column's type and never
//! by its look: an arm may be called `007` or `true`.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, ensure};
use hdrhistogram::Histogram;
use serde_json::{Number, Value};

use crate::text::plain;

/// One or several columns.
pub(super) trait Column: Sized {
    /// The names of the columns, in their order.
    fn names(name: &str, names: &mut Vec<String>);

    /// Their values, in the same order.
    fn values(&self, values: &mut Vec<Value>);

    /// The value that a row holds.
    ///
    /// # Errors
    /// If a field holds something else, or a column is missing that every row needs.
    fn read(name: &str, fields: &Fields<'_>) -> Result<Self>;
}

/// The type of a single column.
pub(super) trait Scalar: Sized {
    /// Whether an empty field is a value.
    const MAY_BE_EMPTY: bool = false;

    /// As it stands in `--json`; in trials.csv it is the same text without quotes.
    fn value(&self) -> Value;

    /// Reads a field.
    ///
    /// # Errors
    /// What the field should be.
    fn parse(field: &str) -> Result<Self, &'static str>;
}

/// The fields of one row by the names of their columns.
pub(super) struct Fields<'a> {
    pub(super) line: u64,
    pub(super) by_column: BTreeMap<&'a str, &'a str>,
}

impl Fields<'_> {
    fn parsed<T: Scalar>(&self, name: &str, field: &str) -> Result<T> {
        let wrong = |right| anyhow!("line {}: {name} is {:?} and should be {right}", self.line, plain(field));
        T::parse(field).map_err(wrong)
    }
}

impl<T: Scalar> Column for T {
    fn names(name: &str, names: &mut Vec<String>) {
        names.push(name.to_owned());
    }

    fn values(&self, values: &mut Vec<Value>) {
        values.push(self.value());
    }

    fn read(name: &str, fields: &Fields<'_>) -> Result<Self> {
        let field = fields.by_column.get(name);
        ensure!(field.is_some() || T::MAY_BE_EMPTY, "there is no column {name}");
        fields.parsed(name, field.copied().unwrap_or_default())
    }
}

/// An empty field is unknown or not measured, never 0.
impl<T: Scalar> Column for Option<T> {
    fn names(name: &str, names: &mut Vec<String>) {
        names.push(name.to_owned());
    }

    fn values(&self, values: &mut Vec<Value>) {
        values.push(self.as_ref().map_or(Value::Null, Scalar::value));
    }

    fn read(name: &str, fields: &Fields<'_>) -> Result<Self> {
        match fields.by_column.get(name) {
            None | Some(&"") => Ok(None),
            Some(field) => fields.parsed(name, field).map(Some),
        }
    }
}

impl Scalar for u64 {
    fn value(&self) -> Value {
        (*self).into()
    }

    fn parse(field: &str) -> Result<Self, &'static str> {
        field.parse().map_err(|_| "an integer of 0 or more")
    }
}

impl Scalar for i64 {
    fn value(&self) -> Value {
        (*self).into()
    }

    fn parse(field: &str) -> Result<Self, &'static str> {
        field.parse().map_err(|_| "an integer")
    }
}

/// A rate per second or milliseconds that somebody asked for: they may have a fraction, and a whole number has none.
impl Scalar for f64 {
    fn value(&self) -> Value {
        decimal(*self)
    }

    fn parse(field: &str) -> Result<Self, &'static str> {
        // Of what is no finite number none is made: it would be null, and stand for unknown.
        field.parse().ok().filter(|number: &Self| number.is_finite()).ok_or("a number")
    }
}

impl Scalar for bool {
    fn value(&self) -> Value {
        (*self).into()
    }

    fn parse(field: &str) -> Result<Self, &'static str> {
        field.parse().map_err(|_| "true or false")
    }
}

impl Scalar for String {
    const MAY_BE_EMPTY: bool = true;

    fn value(&self) -> Value {
        self.as_str().into()
    }

    fn parse(field: &str) -> Result<Self, &'static str> {
        Ok(plain(field).into_owned())
    }
}

/// A number as it is recorded: whole numbers without a fraction.
pub(super) fn decimal(number: f64) -> Value {
    const EXACT: f64 = (1_u64 << 53) as f64;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// Makes a struct of columns whose names begin with that of the group.
macro_rules! group {
    ($(#[$meta:meta])* $group:ident { $($(#[$doc:meta])* $name:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $group {
            $($(#[$doc])* pub $name: $type,)*
        }

        impl Column for $group {
            fn names(name: &str, names: &mut Vec<String>) {
                $(<$type>::names(&format!("{name}_{}", stringify!($name)), names);)*
            }

            fn values(&self, values: &mut Vec<Value>) {
                $(self.$name.values(values);)*
            }

            fn read(name: &str, fields: &Fields<'_>) -> Result<Self> {
                Ok(Self { $($name: Column::read(&format!("{name}_{}", stringify!($name)), fields)?,)* })
            }
        }
    };
}

group! {
    /// A distribution of times in nanoseconds; nothing is known of one without a sample.
    Latency {
        /// The shortest.
        min: Option<u64>,
        /// The mean.
        mean: Option<u64>,
        /// The median.
        p50: Option<u64>,
        /// The 90th percentile.
        p90: Option<u64>,
        /// The 95th percentile.
        p95: Option<u64>,
        /// The 99th percentile.
        p99: Option<u64>,
        /// The 99.9th percentile.
        p999: Option<u64>,
        /// The 99.99th percentile.
        p9999: Option<u64>,
        /// The longest.
        max: Option<u64>,
    }
}

group! {
    /// The quantiles of a distribution that show where it differs from another one, beside those of [`Latency`]; in
    /// nanoseconds.
    Shape {
        /// The 10th percentile.
        p10: Option<u64>,
        /// The 20th percentile.
        p20: Option<u64>,
        /// The 30th percentile.
        p30: Option<u64>,
        /// The 40th percentile.
        p40: Option<u64>,
        /// The 60th percentile.
        p60: Option<u64>,
        /// The 70th percentile.
        p70: Option<u64>,
        /// The 80th percentile.
        p80: Option<u64>,
        /// The 98th percentile.
        p98: Option<u64>,
    }
}

group! {
    /// A distribution of times in nanoseconds that is not measured for its own sake.
    BriefLatency {
        /// The median.
        p50: Option<u64>,
        /// The 99th percentile.
        p99: Option<u64>,
        /// The longest.
        max: Option<u64>,
    }
}

group! {
    /// What one kind of misbehaving client experienced in the load window.
    Misbehaving {
        /// Connections opened in the window.
        opened_count: Option<u64>,
        /// Messages sent.
        sent_count: Option<u64>,
        /// Messages that came back unaltered.
        echoed_count: Option<u64>,
        /// Status lines received.
        status_count: Option<u64>,
        /// Lines that are no echo, doubled or out of order.
        wrong_count: Option<u64>,
        /// Connections that were refused, or closed by the server.
        closed_count: Option<u64>,
        /// connect() until the first echo.
        connect_ns: BriefLatency,
        /// Received - first write attempt.
        service_ns: BriefLatency,
    }
}

impl Latency {
    /// The statistics of a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| Some(histogram.value_at_quantile(quantile));
        Self {
            min: Some(histogram.min()),
            mean: Some(histogram.mean().round() as u64),
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: Some(histogram.max()),
        }
    }
}

impl Shape {
    /// The quantiles of a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| Some(histogram.value_at_quantile(quantile));
        Self {
            p10: at(0.1),
            p20: at(0.2),
            p30: at(0.3),
            p40: at(0.4),
            p60: at(0.6),
            p70: at(0.7),
            p80: at(0.8),
            p98: at(0.98),
        }
    }
}

impl BriefLatency {
    /// The statistics of a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| Some(histogram.value_at_quantile(quantile));
        Self { p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_written_without_a_fraction() {
        let written = [0.0, 2.0, -3.0, 0.1, 1e16].map(|number| decimal(number).to_string());
        assert_eq!(written, ["0", "2", "-3", "0.1", "1e+16"]);
        assert_eq!(decimal(f64::NAN), Value::Null);
    }

    #[test]
    fn a_group_names_its_columns_by_its_own_name() {
        let mut names = Vec::new();
        Misbehaving::names("churn", &mut names);
        assert_eq!(names.first().map(String::as_str), Some("churn_opened_count"));
        assert_eq!(names.last().map(String::as_str), Some("churn_service_ns_max"));
    }

    #[test]
    fn without_a_sample_nothing_is_known() {
        let histogram = Histogram::<u64>::new(3).unwrap();
        assert_eq!((Latency::of(&histogram), BriefLatency::of(&histogram)), Default::default());
    }
}
