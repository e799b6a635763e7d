//! The command line of a server, shared by `servers NAME` and `loadgen serve NAME`.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    num::NonZeroUsize,
    thread::available_parallelism,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use clap::{Args, builder::PossibleValuesParser};
use protocol::{Service, limits::STATUS_INTERVAL_MIN, work::Work};

use crate::{
    Config, SERVERS, by_name,
    listen::{self, log},
};

/// Descriptors that every server needs at start: with fewer, some runtime would panic.
const DESCRIPTORS_MIN: usize = 32;

/// Options of one server.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Server to run
    #[arg(value_name = "NAME", value_parser = names())]
    pub name: String,

    /// Address to listen on; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:9000", value_name = "HOST:PORT", value_parser = Addrs::resolve)]
    pub addr: Addrs,

    /// Interval between status lines, at least 10ms; 0s for none
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = status_interval)]
    pub status_interval: Duration,

    /// Maximum number of concurrent connections; further ones wait in the listen backlog
    #[arg(long, default_value = "16000", value_name = "N", value_parser = max_connections)]
    pub max_connections: NonZeroUsize,

    /// Number of worker threads (tokio, tokio-per-core, mio-multi) [default: one per CPU of this process]
    #[arg(long, value_name = "N", value_parser = workers)]
    pub workers: Option<NonZeroUsize>,

    /// What it does besides echoing and broadcasting.
    #[command(flatten)]
    pub service: ServiceArgs,

    /// Leave Nagle's algorithm on (an ablation): an echo right after a status then waits for the peer's ACK
    #[arg(long)]
    pub nagle: bool,

    /// TCP congestion control of the connections
    #[arg(long, default_value = "reno", value_name = "NAME")]
    pub congestion: String,
}

impl ServeArgs {
    /// Refuses an option that the server lacks: a usage error.
    ///
    /// # Errors
    /// One line that names it.
    pub fn ensure_possible(&self) -> anyhow::Result<()> {
        match by_name(&self.name).and_then(|server| server.lacking(&self.service.service())) {
            Some(missing) => bail!("{} has no {}", self.name, missing.option()),
            None => Ok(()),
        }
    }
}

/// What a server does besides echoing and broadcasting (SPEC.md, clauses W, H and T).
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct ServiceArgs {
    /// CPU time that each message costs the server: 20us; or a share of the messages: 1%:20ms; or both: 2us,0.2%:20ms
    #[arg(
        long,
        allow_hyphen_values = true,
        default_value = "0s",
        hide_default_value = true,
        value_name = "WORK",
        help_heading = "Service"
    )]
    pub work: Work,

    /// Time that a client has to answer the server's hello, in a handshake before the first echo [default: no handshake]
    #[arg(long, allow_hyphen_values = true, value_name = "DURATION", value_parser = timeout, help_heading = "Service")]
    pub handshake: Option<Duration>,

    /// Time after which the server closes a connection that sends nothing [default: never]
    #[arg(long, allow_hyphen_values = true, value_name = "DURATION", value_parser = timeout, help_heading = "Service")]
    pub idle_timeout: Option<Duration>,
}

impl ServiceArgs {
    /// The service that was asked for.
    pub fn service(self) -> Service {
        let Self { work, handshake, idle_timeout } = self;
        Service { work, handshake, idle_timeout }
    }
}

/// The addresses that a host name resolves to; a server listens on the first that can be bound.
#[derive(Clone, Debug)]
pub struct Addrs(Vec<SocketAddr>);

impl Addrs {
    /// Resolves `HOST:PORT`.
    ///
    /// # Errors
    /// One line with the correct syntax.
    pub fn resolve(text: &str) -> Result<Self, String> {
        let addrs = text.to_socket_addrs().map_err(|error| format!("{error}; write for example 127.0.0.1:9000"))?;
        let addrs: Vec<SocketAddr> = addrs.collect();
        if addrs.is_empty() { Err("the name has no address".to_owned()) } else { Ok(Self(addrs)) }
    }
}

/// Binds, prints `listening on ADDR:PORT`, serves until a signal, and prints the counters.
///
/// # Errors
/// If the server cannot start: the address is in use, or the congestion control unknown.
pub fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let server = by_name(&args.name).with_context(|| format!("there is no server {}", args.name))?;
    let service = args.service.service();
    args.ensure_possible()?;
    let descriptor_limit = listen::raise_descriptor_limit();
    ensure!(
        descriptor_limit >= DESCRIPTORS_MIN,
        "{descriptor_limit} descriptors are too few for a server: ulimit -n {DESCRIPTORS_MIN} or more"
    );
    let options = listen::SocketOptions { nodelay: !args.nagle, congestion: Some(args.congestion.clone()) };
    let listener = listen::bind(&args.addr.0, &options)?;
    listen::grow_descriptor_table(&listener, args.max_connections.get(), descriptor_limit);
    let config = Config {
        status_interval: args.status_interval,
        max_connections: args.max_connections,
        workers: args.workers.or_else(|| available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN),
        service,
    };

    let addr = listener.local_addr()?;
    if !addr.ip().is_loopback() {
        log(format_args!("warning: {addr} is not a loopback address: any host that reaches it can connect"));
    }
    let counters = (server.run)(listener, &config).with_context(|| format!("{} cannot serve", server.name))?;
    log(format_args!("{}", serde_json::to_string(&counters)?));
    Ok(())
}

/// Parses a duration such as `500ms`, `5s` or `2m`.
///
/// # Errors
/// One line with the correct syntax.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text.parse::<f64>().is_ok_and(|number| number.is_finite() && number >= 0.0) {
        return Err(format!("no unit; write {text}ms or {text}s"));
    }
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= DURATION_MAX => Ok(duration),
        Ok(_) => Err("too long; at most 365days".to_owned()),
        Err(humantime::DurationError::NumberOverflow) => {
            Err("too long, or finer than a nanosecond; write from 1ns to 365days".to_owned())
        }
        Err(error) => Err(format!("{error}; write for example 500ms, 5s or 2m")),
    }
}

/// The longest duration of an option: the sum of several and the clock, in nanoseconds, fits in 64 bits.
const DURATION_MAX: Duration = Duration::from_secs(365 * 86_400);

/// Maximum number of worker threads: more than any host has CPUs.
const WORKERS_MAX: u64 = 4096;

/// Maximum number of connections: 2^30 is more than the kernel allows descriptors per process.
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

/// Parses the interval between status lines (B4): zero, or at least 10 ms.
///
/// # Errors
/// One line with the correct syntax.
pub fn status_interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        interval if !interval.is_zero() && interval < STATUS_INTERVAL_MIN => {
            Err("too short; write 10ms or more, or 0s for no status lines".to_owned())
        }
        interval => Ok(interval),
    }
}

/// Parses the time of a handshake (H2) or of silence (T1): at least 1 ms.
///
/// # Errors
/// One line with the correct syntax.
pub fn timeout(text: &str) -> Result<Duration, String> {
    const SHORTEST: Duration = Duration::from_millis(1);
    match duration(text)? {
        timeout if timeout < SHORTEST => Err("too short; write 1ms or more, or leave the option out".to_owned()),
        timeout => Ok(timeout),
    }
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(SERVERS.iter().map(|server| server.name))
}
