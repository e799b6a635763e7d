//! A histogram within JSON: the compressed V2 format of HdrHistogram, in Base64.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hdrhistogram::{
    Histogram,
    serialization::{Deserializer, Serializer, V2DeflateSerializer},
};
use serde::{Deserialize, de, ser};

pub(super) fn serialize<S: ser::Serializer>(histogram: &Histogram<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).map_err(ser::Error::custom)?;
    serializer.serialize_str(&STANDARD.encode(bytes))
}

pub(super) fn deserialize<'de, D: de::Deserializer<'de>>(deserializer: D) -> Result<Histogram<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = STANDARD.decode(text).map_err(de::Error::custom)?;
    Deserializer::new().deserialize(&mut &bytes[..]).map_err(|error| de::Error::custom(format!("{error:?}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Serialize;

    use super::*;
    use crate::engine::tally;

    #[derive(Serialize, Deserialize)]
    struct Sent(#[serde(with = "super")] Histogram<u64>);

    proptest! {
        #[test]
        fn a_histogram_arrives_bucket_by_bucket_and_can_be_added_to(
            values in prop::collection::vec(1..60_000_000_000_u64, 0..200), digits in 2..=3_u8,
        ) {
            let mut histogram = tally::histogram(digits);
            values.iter().for_each(|value| histogram.record(*value).unwrap());
            let text = serde_json::to_string(&Sent(histogram.clone())).unwrap();
            let Sent(arrived) = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&arrived, &histogram);
            let mut sum = tally::histogram(digits);
            tally::add(&mut sum, &arrived);
            prop_assert_eq!(sum, histogram);
        }
    }
}
