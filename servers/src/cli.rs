//! The command line of a server, shared by `servers NAME` and `loadgen serve NAME`.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    num::NonZeroUsize,
    thread::available_parallelism,
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::{Args, builder::PossibleValuesParser};
use protocol::limits::STATUS_INTERVAL_MIN;

use crate::{
    Config, SERVERS, by_name,
    listen::{self, log},
};

/// Descriptors that are needed to begin with, whichever server it is: with fewer some runtime would panic while it starts.
const DESCRIPTORS_MIN: usize = 32;

/// What one server is to do.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Which server
    #[arg(value_name = "NAME", value_parser = names())]
    pub name: String,

    /// Address to listen on; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:9000", value_name = "HOST:PORT", value_parser = Addrs::resolve)]
    pub addr: Addrs,

    /// Time between two status lines; 0s turns them off, otherwise 10ms or more
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = status_interval)]
    pub status_interval: Duration,

    /// Connections served at a time; further ones wait in the listen backlog
    #[arg(long, default_value = "16000", value_name = "N", value_parser = max_connections)]
    pub max_connections: NonZeroUsize,

    /// Worker threads (tokio) [default: one for each CPU of this process]
    #[arg(long, value_name = "N", value_parser = workers)]
    pub workers: Option<NonZeroUsize>,

    /// Leave Nagle's algorithm on: an ablation, an echo right after a status then waits for the peer's ACK
    #[arg(long)]
    pub nagle: bool,

    /// TCP congestion control of the connections
    #[arg(long, default_value = "reno", value_name = "NAME")]
    pub congestion: String,
}

/// The addresses of a host's name; a server listens on the first that it can have.
#[derive(Clone, Debug)]
pub struct Addrs(Vec<SocketAddr>);

impl Addrs {
    /// Resolves `HOST:PORT`.
    ///
    /// # Errors
    /// One line that says what would be right.
    pub fn resolve(text: &str) -> Result<Self, String> {
        let addrs = text.to_socket_addrs().map_err(|error| format!("{error}; write for example 127.0.0.1:9000"))?;
        let addrs: Vec<SocketAddr> = addrs.collect();
        if addrs.is_empty() { Err("it has no address".to_owned()) } else { Ok(Self(addrs)) }
    }
}

/// Binds, says `listening on ADDR:PORT`, serves until a signal, and prints the counters.
///
/// # Errors
/// What kept the server from starting: an address in use, an unknown congestion control.
pub fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let server = by_name(&args.name).with_context(|| format!("no server is called {}", args.name))?;
    let descriptor_limit = listen::raise_descriptor_limit();
    ensure!(
        descriptor_limit >= DESCRIPTORS_MIN,
        "{descriptor_limit} descriptors are too few to serve anybody: ulimit -n {DESCRIPTORS_MIN} or more"
    );
    let options = listen::SocketOptions { nodelay: !args.nagle, congestion: Some(args.congestion.clone()) };
    let listener = listen::bind(&args.addr.0, &options)?;
    listen::grow_descriptor_table(&listener, args.max_connections.get(), descriptor_limit);
    let config = Config {
        status_interval: args.status_interval,
        max_connections: args.max_connections,
        workers: args.workers.or_else(|| available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN),
    };

    let addr = listener.local_addr()?;
    if !addr.ip().is_loopback() {
        log(format_args!("warning: {addr} is no loopback address: every host that reaches this one can connect"));
    }
    let counters = (server.run)(listener, &config).with_context(|| format!("{} cannot serve", server.name))?;
    log(format_args!("{}", serde_json::to_string(&counters)?));
    Ok(())
}

/// Reads a duration such as `500ms`, `5s` or `2m`.
///
/// # Errors
/// One line that says what would be right.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text.parse::<f64>().is_ok_and(|number| number.is_finite() && number >= 0.0) {
        return Err(format!("it has no unit; write {text}ms or {text}s"));
    }
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= DURATION_MAX => Ok(duration),
        Ok(_) => Err("it is too long; at most 365days".to_owned()),
        Err(humantime::DurationError::NumberOverflow) => {
            Err("it is too long, or finer than a nanosecond; write from 1ns to 365days".to_owned())
        }
        Err(error) => Err(format!("{error}; write for example 500ms, 5s or 2m")),
    }
}

/// The longest duration that a command line may ask for: sums of several such with the clock, in nanoseconds, do not wrap
/// in 64 bits.
const DURATION_MAX: Duration = Duration::from_secs(365 * 86_400);

/// The most worker threads: more than any host has CPUs.
const WORKERS_MAX: u64 = 4096;

/// The most connections: 2^30 is more than the kernel has descriptors for one process.
const CONNECTIONS_MAX: u64 = 1 << 30;

fn workers(text: &str) -> Result<NonZeroUsize, String> {
    bounded(text, WORKERS_MAX)
}

fn max_connections(text: &str) -> Result<NonZeroUsize, String> {
    bounded(text, CONNECTIONS_MAX)
}

fn bounded(text: &str, most: u64) -> Result<NonZeroUsize, String> {
    let number = text.parse::<u64>().ok().filter(|number| (1..=most).contains(number));
    let number = number.and_then(|number| NonZeroUsize::new(usize::try_from(number).ok()?));
    number.ok_or_else(|| format!("write a number from 1 to {most}"))
}

/// Reads the time between two status lines (B4): a duration, of 10 ms or more unless it is zero.
///
/// # Errors
/// One line that says what would be right.
pub fn status_interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        interval if !interval.is_zero() && interval < STATUS_INTERVAL_MIN => {
            Err("it is too short; write 10ms or more, or 0s for no status lines".to_owned())
        }
        interval => Ok(interval),
    }
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(SERVERS.iter().map(|server| server.name))
}
