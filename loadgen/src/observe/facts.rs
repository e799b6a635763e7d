//! What a record says about the host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Facts that do not change while a session runs. `None` is what the platform does not tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Its name, or what it is to be called.
    pub host: String,
    /// Release and version of the kernel.
    pub kernel: String,
    /// What of the kernel's command line may matter to a measurement.
    pub kernel_cmdline: Option<String>,
    /// Machine type.
    pub architecture: String,
    /// Name of the processor.
    pub cpu_model: Option<String>,
    /// List of the CPUs that are online.
    pub cpus_online: Option<String>,
    /// CPUs that this process may use.
    pub cpus_available: Vec<usize>,
    /// State of simultaneous multithreading.
    pub smt: Option<String>,
    /// Whether it is a guest of a hypervisor.
    pub hypervisor: Option<bool>,
    /// Frequency governor of the first CPU.
    pub governor: Option<String>,
    /// Clock source of the kernel.
    pub clocksource: Option<String>,
    /// Mitigations of processor vulnerabilities, by their names.
    pub mitigations: BTreeMap<String, Option<String>>,
    /// Setting of transparent huge pages.
    pub transparent_hugepage: Option<String>,
    /// Whether a cgroup limits the CPU time.
    pub cpu_quota: bool,
    /// Kernel parameters, by their names.
    pub sysctl: BTreeMap<String, Option<String>>,
    /// Soft limit of open files; `None` without a limit.
    pub nofile_soft: Option<u64>,
    /// Memory of the host.
    pub memory_total_bytes: Option<u64>,
}

impl Facts {
    /// Every fact as a name and a text, for a table.
    pub fn listed(&self) -> Vec<(String, String)> {
        let Ok(Value::Object(facts)) = serde_json::to_value(self) else { return Vec::new() };
        let mut listed = Vec::new();
        for (name, fact) in facts {
            match fact {
                Value::Object(inner) => listed.extend(inner.into_iter().map(|(name, fact)| (name, text(&fact)))),
                fact => listed.push((name, text(&fact))),
            }
        }
        listed
    }
}

fn text(fact: &Value) -> String {
    match fact {
        Value::Null => "unknown".to_owned(),
        Value::String(text) => text.clone(),
        fact => fact.to_string(),
    }
}
