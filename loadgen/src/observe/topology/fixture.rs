//! The hosts of loadgen/tests/topologies.

use std::{collections::BTreeMap, fs, path::Path};

use super::{Topology, cpu_list};
use crate::observe::cgroup;

/// A host as its files tell.
pub(crate) struct Recorded {
    pub(crate) topology: Topology,
    /// The CPUs that a process may use there.
    pub(crate) available: Vec<usize>,
    pub(crate) quota: Option<f64>,
}

/// A host by its name.
pub(crate) fn recorded(name: &str) -> Recorded {
    let files = files(&format!("{name}.txt"));
    let read = |path: &str| files.get(path).cloned();
    let allowed = files["proc/self/status"].strip_prefix("Cpus_allowed_list:").unwrap();
    let available = cpu_list(allowed).unwrap();
    Recorded { topology: Topology::of(&read, &available), quota: cgroup::cpu_quota(&read), available }
}

/// The contents of a host's files, by their paths.
fn files(file: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/topologies");
    let text = fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let (mut before, mut own) = (BTreeMap::new(), BTreeMap::<String, String>::new());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(other) = line.strip_prefix("include ") {
            before = files(other);
            continue;
        }
        let (path, content) = line.split_once(':').unwrap_or_else(|| panic!("{file}: {line}"));
        own.entry(path.to_owned()).and_modify(|text| *text += &format!("\n{content}")).or_insert(content.to_owned());
    }
    before.extend(own);
    before
}
