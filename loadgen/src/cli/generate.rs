//! `loadgen generate`.

use std::time::Duration;

use clap::Args;

use crate::plan::{CpuList, PacingChoice, units};

/// A generator of a session whose server runs on another host.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example, on three hosts, of which 10.0.0.1 runs the servers:
  loadgen compare --generators 2 --listen 10.0.0.1:7700    on 10.0.0.1
  loadgen generate 10.0.0.1:7700                           on each of the others

All hosts run the same executable. LOADGEN_TOKEN, if it is set, must be the same
word on all of them. A generator loads no other address than its coordinator's.

Exit codes: 0 the coordinator ended the session; 1 the coordinator is gone;
2 it refused this generator; 3 there was none within 60 s; 130 interrupted")]
pub struct GenerateArgs {
    /// Where the coordinator listens, the loadgen with --generators and --listen; it is looked for for 60 s
    #[arg(value_name = "HOST:PORT", value_parser = place)]
    pub(crate) coordinator: String,

    /// How long the coordinator is looked for
    #[arg(long, hide = true, default_value = "60s", value_parser = units::duration, value_name = "PATIENCE")]
    pub(crate) look_for: Duration,

    /// Number of threads
    #[arg(long, default_value = "1", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024), help_heading = "Host")]
    pub(crate) threads: u32,

    /// How the next send time is waited for
    #[arg(long, default_value = "auto", value_enum, help_heading = "Host")]
    pub(crate) pacing: PacingChoice,

    /// CPUs of the threads [default: one per thread, on cores of their own]
    #[arg(long, value_name = "LIST", help_heading = "Host")]
    pub(crate) loadgen_cpus: Option<CpuList>,
}

fn place(text: &str) -> Result<String, String> {
    let port =
        text.rsplit_once(':').and_then(|(host, port)| Some(port.parse::<u16>().ok()?).filter(|_| !host.is_empty()));
    match port {
        Some(port) if port > 0 => Ok(text.to_owned()),
        _ => Err("write a host and a port, for example 10.0.0.1:7700".to_owned()),
    }
}
