use super::*;

#[test]
fn what_was_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = Metadata {
        gates: BTreeMap::from([("steal".to_owned(), Gate { flag: 0.1, invalid: f64::INFINITY })]),
        ..Metadata::unknown()
    };
    std::fs::write(folder.path().join("session.json"), serde_json::to_vec(&metadata).unwrap()).unwrap();
    assert_eq!(Metadata::read(folder.path()).unwrap(), metadata);
}

#[test]
fn every_recorded_session_is_read_whole() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results");
    let folders = std::fs::read_dir(results).unwrap().map(|entry| entry.unwrap().path());
    let sessions: Vec<_> = folders.filter(|folder| folder.join(METADATA).exists()).collect();
    assert!(!sessions.is_empty());
    for folder in sessions {
        let file: Value = serde_json::from_slice(&std::fs::read(folder.join(METADATA)).unwrap()).unwrap();
        let read = serde_json::to_value(Metadata::read(&folder).unwrap()).unwrap();
        // A key that is not known would be passed over without a word.
        assert_eq!(lost(&file, &read, ""), Vec::<String>::new(), "{}", folder.display());
    }
}

/// The places of values in one JSON document that are missing in another one.
fn lost(of: &Value, from: &Value, place: &str) -> Vec<String> {
    match of {
        Value::Object(entries) => {
            let inner = entries.iter().filter(|(_, value)| !value.is_null() && *value != &Value::Array(Vec::new()));
            inner
                .flat_map(|(key, value)| {
                    let place = format!("{place}/{key}");
                    from.get(key).map_or_else(|| vec![place.clone()], |other| lost(value, other, &place))
                })
                .collect()
        }
        Value::Array(items) => {
            let pairs = items.iter().enumerate();
            pairs.flat_map(|(at, item)| lost(item, &from[at], &format!("{place}/{at}"))).collect()
        }
        value if value == from => Vec::new(),
        _ => vec![place.to_owned()],
    }
}

#[test]
fn what_is_no_session_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |text: &str| {
        std::fs::write(folder.path().join("session.json"), text).unwrap();
        format!("{:#}", Metadata::read(folder.path()).unwrap_err())
    };
    assert!(refused("[]").ends_with("session.json: it is no object"));
    assert!(refused("{}").ends_with("session.json: it has no schema_version"));
    assert!(refused(r#"{"schema_version": 1}"#).contains("recorded in schema 1"));
    assert!(refused(r#"{"schema_version": 3}"#).contains("missing field"));
    assert!(["[]", "{}", r#"{"schema_version": 1}"#].iter().all(|text| refused(text).lines().count() == 1));
}

#[test]
fn no_part_of_a_duration_is_cut_off_in_a_record() {
    use std::time::Duration;
    let recorded = [Duration::from_millis(10), Duration::from_micros(10_500), Duration::from_nanos(1)];
    assert_eq!(recorded.map(|duration| decimal(ms(duration)).to_string()), ["10", "10.5", "1e-6"]);
    assert_eq!([0.1, 1.0 / 3.0, 20_000.4].map(recorded_rate), [0.1, 0.333, 20_000.0]);
}

#[test]
fn where_the_servers_cpus_lie_makes_no_difference_and_their_number_does() {
    let plan = |server_cpus: &[usize], loadgen_cpus: &[usize], placement_reason: &str| -> PlanRecord {
        let (mut recorded, reason) = (recorded_plan(), placement_reason.to_owned());
        (recorded.server_cpus, recorded.loadgen_cpus) = (server_cpus.to_vec(), loadgen_cpus.to_vec());
        recorded.placement_reason = reason;
        recorded
    };
    let one = plan(&[0], &[1], "the only two");
    assert_eq!(one.difference(&plan(&[2], &[4, 6], "different cores")), None);
    let (name, ..) = one.difference(&plan(&[0, 1], &[2], "as asked")).unwrap();
    assert_eq!(name, "server_cpus");
}

/// The plan of some recorded session.
fn recorded_plan() -> PlanRecord {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results");
    let folders = std::fs::read_dir(results).unwrap().map(|entry| entry.unwrap().path());
    let mut plans = folders.filter_map(|folder| Metadata::read(&folder).ok()?.configuration.plan);
    plans.next().unwrap()
}
