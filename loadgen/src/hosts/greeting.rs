//! Who a generator is, and whether it may take part.

use std::{env, fmt};

use serde::{Deserialize, Serialize};

use crate::observe;

/// What a generator says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// SHA-256 of the executable: another build would measure in another way.
    pub(crate) build: String,
    /// What both sides were given, so that generators of two sessions are not mixed up.
    pub(crate) token: String,
    /// The host's name.
    pub(crate) host: String,
    /// Identifies the host since its boot.
    pub(crate) boot_id: Option<String>,
    pub(crate) pid: u32,
    /// Threads of its engine.
    pub(crate) threads: u32,
    /// CPUs of its engine.
    pub(crate) cpus: Vec<usize>,
    /// It spins for the next slot, and does not sleep.
    pub(crate) spins: bool,
    /// Its limit of open descriptors.
    pub(crate) descriptors: Option<u64>,
    /// Its ephemeral ports.
    pub(crate) ports: Option<u64>,
    /// How the host was found, in lines of name and value.
    pub(crate) facts: Vec<(String, String)>,
}

/// What the coordinator answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Welcome {
    /// All generators are there.
    Begin,
    /// It may not take part.
    Refused(Refusal),
}

/// Why a generator may not take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Refusal {
    OtherBuild,
    OtherToken,
    Full,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::OtherBuild => "it is another build of loadgen: start the same executable on every host",
            Self::Full => "there are as many as were asked for: raise --generators",
            Self::OtherToken => "it has another token: set LOADGEN_TOKEN to the same word on every host",
        })
    }
}

impl Hello {
    /// Of this process.
    pub(crate) fn here(build: String, threads: u32, cpus: Vec<usize>, spins: bool) -> Self {
        Self {
            build,
            token: token(),
            host: observe::host(),
            boot_id: observe::boot_id(),
            pid: std::process::id(),
            threads,
            cpus,
            spins,
            descriptors: observe::descriptor_limit(),
            ports: observe::ephemeral_ports(),
            facts: observe::facts().listed(),
        }
    }

    /// Whether this generator may join a coordinator of that build and token.
    pub(super) fn check(&self, build: &str, token: &str) -> Result<(), Refusal> {
        match (self.build == build, self.token == token) {
            (false, _) => Err(Refusal::OtherBuild),
            (_, false) => Err(Refusal::OtherToken),
            _ => Ok(()),
        }
    }
}

/// The word that coordinator and generators have in common: LOADGEN_TOKEN, else the job of Slurm or Open MPI, else nothing.
pub(crate) fn token() -> String {
    let names = ["LOADGEN_TOKEN", "SLURM_JOB_ID", "OMPI_MCA_ess_base_jobid"];
    names.iter().find_map(|name| env::var(name).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_build_with_the_same_token_may_join() {
        let hello = Hello {
            build: "a1".to_owned(),
            token: "monday".to_owned(),
            host: "g1".to_owned(),
            boot_id: None,
            pid: 1,
            threads: 1,
            cpus: vec![0],
            spins: false,
            descriptors: None,
            ports: None,
            facts: Vec::new(),
        };
        assert_eq!(hello.check("a1", "monday"), Ok(()));
        assert_eq!(hello.check("a2", "monday"), Err(Refusal::OtherBuild));
        assert_eq!(hello.check("a1", ""), Err(Refusal::OtherToken));
    }
}
