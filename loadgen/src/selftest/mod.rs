//! `loadgen selftest`: proves the instrument on answers that are known beforehand.
//!
//! Faults are injected by a fault server that reports the ground truth, or by signals to unmodified servers. Each
//! answer is printed as expected, got and tolerance. Whether a latency is right depends on the time, so this is no part of
//! `cargo test`; what does not depend on it is (`accounting`, and the counts in the generator's tests).

#[cfg(test)]
mod accounting;
mod comparing;
mod delays;
pub mod fault_server;
mod known;
mod observing;
mod perturbing;
mod stalls;
mod working;

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use protocol::Service;

use self::fault_server::Statement;

use crate::{
    cli::Known,
    exit::Exit,
    interrupt,
    measure::{
        launch::fault_server,
        retry::Retry,
        target::Target,
        trial::{self, Trial},
        validity::{Conditions, assess},
    },
    plan::{
        Arrivals, Cohorts, HostArgs, Load, PEAK_DELAY, PacingChoice, Payloads, PlacementKind, Plan, Rate, Shape,
        Windows, prepare, units::show_us,
    },
    record::Validity,
    report::reason,
    terminal::{print, say},
    text::{Text, Tone},
};

/// Measures the answers to one question.
fn check(known: Known) -> Result<Vec<Answer>> {
    match known {
        Known::Delay => delays::fixed(),
        Known::Stall => stalls::of_the_server(),
        Known::Pause => stalls::of_the_generator(),
        Known::Spin => observing::cpu_time(),
        Known::Wakeups => observing::wakeups(),
        Known::Faults => observing::faults(),
        Known::Queues => delays::queues(),
        Known::Compare => comparing::injected(),
        Known::Drain => perturbing::drain(),
        Known::SendDelay => perturbing::send_delay(),
        Known::Perturbation => perturbing::closed_loop(),
        Known::Work => working::work(),
        Known::Coverage => Ok(vec![comparing::coverage()]),
    }
}

/// Measures all answers, or those to the given questions, and prints them.
///
/// # Errors
/// If a measurement is impossible.
pub fn selftest(known: &[Known]) -> Result<Exit> {
    let begun = Instant::now();
    let chosen = if known.is_empty() { &Known::ALL[..] } else { known };
    if cfg!(debug_assertions) {
        say("warning: this is a debug build; its own cost is part of what it measures");
    }
    let (mut wrong, mut spoiled) = (0, 0);
    print(format!("{:<44}{:>12}{:>12}{:>12}\n", "known answer", "expected", "got", "+-"))?;
    for known in chosen {
        match check(*known) {
            // A measurement that a signal cut short proves nothing.
            _ if interrupt::requested() => return Ok(Exit::Interrupted),
            Ok(answers) => {
                wrong += answers.iter().filter(|answer| !answer.is_right()).count();
                for answer in &answers {
                    print(answer.shown())?;
                }
            }
            Err(error) if error.downcast_ref::<Spoiled>().is_some() => {
                spoiled += 1;
                print(format!("{known:?}: not judged, {error}\n"))?;
            }
            Err(error) => return Err(error),
        }
    }
    let verdict = match (wrong, spoiled) {
        (0, 0) => "every answer is right".to_owned(),
        (0, spoiled) => format!("{spoiled} not judged, since the host spoiled the measurement: try at a quieter time"),
        (wrong, _) => format!("{wrong} wrong: do not believe what this instrument says on this host"),
    };
    print(format!("{verdict} ({} s)\n", begun.elapsed().as_secs()))?;
    Ok(match (wrong, spoiled) {
        (0, 0) => Exit::Ok,
        (0, _) => Exit::Invalid,
        _ => Exit::Internal,
    })
}

/// A known answer, with its expected and measured values.
struct Answer {
    what: String,
    expected: f64,
    got: f64,
    tolerance: f64,
    show: fn(f64) -> String,
}

impl Answer {
    /// Times in nanoseconds, shown in microseconds.
    fn time(what: impl Into<String>, expected_ns: f64, got_ns: f64, tolerance_ns: f64) -> Self {
        let show = |ns: f64| format!("{} us", show_us(ns));
        Self { what: what.into(), expected: expected_ns, got: got_ns, tolerance: tolerance_ns, show }
    }

    fn number(what: impl Into<String>, expected: f64, got: f64, tolerance: f64) -> Self {
        Self { what: what.into(), expected, got, tolerance, show: |number| format!("{number:.4}") }
    }

    fn count(what: impl Into<String>, expected: u64, got: u64) -> Self {
        let (expected, got) = (expected as f64, got as f64);
        Self { what: what.into(), expected, got, tolerance: 0.0, show: |count| format!("{count:.0}") }
    }

    /// A statement that has to be true.
    fn fact(what: impl Into<String>, so: bool) -> Self {
        let show = |so: f64| if so == 0.0 { "no" } else { "yes" }.to_owned();
        Self { what: what.into(), expected: 1.0, got: f64::from(u8::from(so)), tolerance: 0.0, show }
    }

    /// A line of the table.
    fn shown(&self) -> Text {
        let Self { what, expected, got, tolerance, show } = self;
        let tolerance = if *tolerance == 0.0 { "exactly".to_owned() } else { show(*tolerance) };
        let line = Text::from(format!("{what:<44}{:>12}{:>12}{tolerance:>12}", show(*expected), show(*got)));
        let mark =
            if self.is_right() { Text::default() } else { Text::from("  ").with(Text::toned("WRONG", Tone::Bad)) };
        line.with(mark).with("\n")
    }

    fn is_right(&self) -> bool {
        (self.got - self.expected).abs() <= self.tolerance
    }
}

/// The host spoiled a measurement again and again.
#[derive(Debug)]
struct Spoiled(String);

impl fmt::Display for Spoiled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Spoiled {}

/// The parts of a plan that the known answers vary.
#[derive(Clone, Debug)]
struct Setup {
    connections: u32,
    load: Load,
    idle: Duration,
    warmup: Duration,
    duration: Duration,
    peak: Duration,
    service: Service,
    seed: u64,
    pacing: PacingChoice,
    drain_bursts: u32,
    generator_delay: Duration,
    peak_delay: Duration,
}

impl Setup {
    /// An open loop over four connections.
    fn open(rate_per_sec: u64, arrivals: Arrivals, duration: Duration) -> Self {
        Self {
            connections: 4,
            load: Load::Open { rate: Rate::Steady(rate_per_sec as f64), arrivals },
            idle: Duration::ZERO,
            warmup: Duration::from_millis(100),
            duration,
            peak: Duration::ZERO,
            service: Service::default(),
            seed: 1,
            pacing: PacingChoice::Auto,
            drain_bursts: 0,
            generator_delay: Duration::ZERO,
            peak_delay: PEAK_DELAY,
        }
    }

    /// The whole plan: no status lines, messages of 64 bytes.
    fn plan(&self) -> Result<Plan> {
        let windows = Windows {
            idle: self.idle,
            warmup: self.warmup,
            load: self.duration,
            peak: self.peak,
            drain_bursts: self.drain_bursts,
        };
        let shape = Shape {
            connections: self.connections,
            load: self.load.clone(),
            payloads: Payloads::one(64),
            windows,
            status_interval: Some(Duration::ZERO),
            cohorts: Cohorts::default(),
            service: self.service,
        };
        let standard = HostArgs::standard(self.pacing, PlacementKind::Split);
        let host = HostArgs { generator_delay: self.generator_delay, ..standard };
        Ok(Plan { peak_delay: self.peak_delay, ..prepare(shape, &host, self.seed)? })
    }

    /// A trial of the fault server with these arguments.
    fn fault_server(&self, arguments: &[&str]) -> Result<Trial> {
        let plan = self.plan()?;
        believable(&plan, &fault_server(&plan, arguments)?)
    }
}

/// A trial that no gate finds invalid, within the standard number of attempts.
fn believable(plan: &Plan, target: &Target) -> Result<Trial> {
    let attempted = Retry::STANDARD.until_accepted(|_| {
        let trial = trial::run(plan, target)?;
        if interrupt::requested() {
            bail!("interrupted");
        }
        let assessment = assess(plan, &trial, &Conditions::default());
        Ok(if assessment.validity == Validity::Invalid { Err(assessment.reasons) } else { Ok(trial) })
    })?;
    attempted.map_err(|reasons| Spoiled(reasons.iter().map(reason).collect::<Vec<_>>().join("; ")).into())
}

/// The statement of the fault server about the faults and delays that it injected.
fn statement(trial: &Trial) -> Result<Statement> {
    serde_json::from_str(&trial.last_words).context("the fault server made no statement")
}

fn load(trial: &Trial) -> Result<&trial::Loaded> {
    trial.load.as_ref().ok_or_else(|| anyhow::anyhow!("the trial has no load window"))
}
