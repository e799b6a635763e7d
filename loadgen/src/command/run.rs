//! `loadgen run`: one trial of one target.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Result, anyhow, bail, ensure};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{generate::gathered, preamble};
use crate::{
    cli::{CohortArgs, RunArgs, TargetChoice},
    engine::progress::{Phase, Progress},
    error::{GeneratorLost, Usage},
    exit::Exit,
    interrupt,
    judge::{
        counted::counted,
        slo::{Slo, SloResult},
    },
    measure::{
        calibration::Calibration,
        launch::{guest, server},
        receive_lag,
        recording::{self, Entry},
        syscalls,
        target::{Placeholder, Stoppable, Target, serves_one},
        trial::{self, Trial},
        validity::{Assessment, Conditions, assess},
    },
    plan::{Cohorts, Load, Plan, STATUS_INTERVAL, Shape, Windows, ensure_slots, prepare},
    record::{self, Configuration, Outcome, PlanRecord, Row, Session, SessionFolder, State, TargetKind, Validity},
    report, terminal,
    text::{Text, plain},
};

/// Measures, prints, and records on request.
///
/// # Errors
/// If the server does not start, refuses every connection or does not echo, or a file cannot be written.
pub fn run(args: &RunArgs) -> Result<Exit> {
    // What cannot be carried out is refused before anybody is waited for.
    plan(args).map_err(Usage::from)?;
    let choice = args.target();
    ensure_here(args, &choice).map_err(Usage::from)?;
    let args = &args.with_host(gathered(&args.host)?);
    let plan = plan(args).map_err(Usage::from)?;
    let target = match &choice {
        TargetChoice::Server(name) => Target::Server(server(name, &plan)?),
        TargetChoice::Command(template) => Target::Command(guest(template, &plan)?),
        TargetChoice::Address { place, pid } => Target::Address { addr: place.reach()?, pid: *pid },
    };
    ensure_loopback(&plan, &target).map_err(Usage::from)?;
    ensure_drain(args, &plan, &choice).map_err(Usage::from)?;
    let session = session(args, &plan)?;
    let conditions =
        if args.no_calibration || plan.windows.load.is_zero() { Conditions::default() } else { conditions(&plan)? };
    let trial = watched(&plan, &target)?;
    let assessment = assess(&plan, &trial, &conditions);
    let separate = Separate::measure(args, &plan, &target, &trial)?;
    let (arm, server, target_kind) = match &choice {
        TargetChoice::Server(name) => (name.as_str(), Some(name.as_str()), TargetKind::Server),
        TargetChoice::Command(_) => ("command", None, TargetKind::Command),
        TargetChoice::Address { .. } => ("target", None, TargetKind::Address),
    };
    let entry = Entry {
        trial_id: 1,
        place: recording::Position::ALONE,
        arm,
        server,
        target_kind,
        padding_bytes: 0,
        plan: &plan,
        conditions: &conditions,
        syscalls_per_message: separate.syscalls_per_message,
        receive_lags: separate.receive_lags.as_ref(),
        measured: Ok((&trial, &assessment)),
    };
    let state = if trial.interrupted { State::Partial } else { State::Complete };
    let (row, folder) = recorded(session, &entry, state)?;
    let judged = args.slo.map(|slo| (slo, judged(&slo, &trial)));
    let text = match args.json {
        true => json(&row, judged)?.into(),
        false => summary(&entry, folder.as_deref(), judged),
    };
    terminal::print(text)?;
    Ok(exit(&trial, &assessment, judged))
}

/// The session to record the trial in, if it is to be recorded.
fn session(args: &RunArgs, plan: &Plan) -> Result<Option<Session>> {
    let Some(folder) = &args.out else { return Ok(None) };
    let place = SessionFolder::claim(Some(folder), args.record.host_name.as_deref()).map_err(Usage::from)?;
    let configuration = Configuration { plan: Some(PlanRecord::of(plan)), ..Configuration::default() };
    Session::create(place, preamble(configuration, &args.host)).map(Some)
}

/// The row of the trial, and the folder of its session.
fn recorded(session: Option<Session>, entry: &Entry<'_>, state: State) -> Result<(Row, Option<PathBuf>)> {
    let (mut row, folder) = match session {
        None => {
            let mut row = recording::row(entry);
            record::build().stamp(&mut row);
            (row, None)
        }
        Some(mut session) => {
            let row = session.append(recording::recording(entry))?;
            let folder = session.end(state, &counted(std::slice::from_ref(&row)))?;
            (row, Some(folder))
        }
    };
    row.counted = Some(counted(std::slice::from_ref(&row))[0]);
    Ok((row, folder))
}

fn json(row: &Row, judged: Option<(Slo, SloResult)>) -> Result<String> {
    let mut row = row.to_json();
    if let Some((slo, judgement)) = judged {
        row.insert("slo".to_owned(), slo.to_string().into());
        row.insert("slo_judgement".to_owned(), judgement.name().into());
    }
    Ok(serde_json::to_string(&row)? + "\n")
}

fn summary(entry: &Entry<'_>, folder: Option<&Path>, judged: Option<(Slo, SloResult)>) -> Text {
    let slo = judged.map(|(slo, judgement)| format!("slo         {}\n", slo.describe(judgement)));
    report::trial(entry, folder).with(slo.unwrap_or_default())
}

/// The exit code, the first that applies.
fn exit(trial: &Trial, assessment: &Assessment, judged: Option<(Slo, SloResult)>) -> Exit {
    let exits = [
        (trial.interrupted || interrupt::requested()).then_some(Exit::Interrupted),
        // The target is blamed on a sound trial only.
        (assessment.validity == Validity::Invalid).then_some(Exit::Invalid),
        (assessment.outcome == Outcome::Failed).then_some(Exit::Target),
        judged.and_then(|(_, judgement)| match judgement {
            SloResult::Met => None,
            SloResult::Missed => Some(Exit::Slo),
            SloResult::NotJudged { .. } => Some(Exit::Invalid),
        }),
    ];
    exits.into_iter().flatten().next().unwrap_or(Exit::Ok)
}

/// The judgement of the trial's load on the objective.
fn judged(slo: &Slo, trial: &Trial) -> SloResult {
    let response = trial.load.as_ref().map(|load| &load.window.tally.response);
    response.map_or(SloResult::NotJudged { samples: 0 }, |response| slo.judge(response))
}

/// The generator's ceiling with the plan's connections and payloads.
fn conditions(plan: &Plan) -> Result<Conditions> {
    Ok(Calibration::measure(plan)?.conditions())
}

/// The trial, with its progress on a terminal.
fn watched(plan: &Plan, target: &Target) -> Result<Trial> {
    if !terminal::is_watched() {
        return trial::run(plan, target);
    }
    let style = ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style);
    let mut phase = (Phase::Ramp, Instant::now());
    let mut show = |progress: &Progress| {
        if progress.phase() != phase.0 {
            phase = (progress.phase(), Instant::now());
        }
        let echoed = progress.echoed();
        bar.set_message(format!("{}, {} s, {echoed} echoed", phase.0.name(), phase.1.elapsed().as_secs()));
        bar.tick();
    };
    let trial = trial::run_watched(plan, target, Some(&mut show));
    bar.finish_and_clear();
    trial
}

/// What trials of their own measured, each only if it is asked for and possible.
struct Separate {
    syscalls_per_message: Option<f64>,
    receive_lags: Option<Histogram<u64>>,
}

impl Separate {
    /// Runs these trials, unless a signal came; a warning says what cannot be measured.
    fn measure(args: &RunArgs, plan: &Plan, target: &Target, trial: &Trial) -> Result<Self> {
        let is_due = |is_asked_for: bool| is_asked_for && !trial.interrupted && !interrupt::requested();
        let syscalls = is_due(args.syscalls).then(|| syscalls::syscalls_per_message(plan, target));
        let lags = is_due(args.receive_lag).then(|| receive_lag::receive_lag(plan, target));
        Ok(Self {
            syscalls_per_message: told("system calls are not counted", syscalls)?,
            receive_lags: told("the receive lag is not measured", lags)?,
        })
    }
}

/// What was measured; `None` with a warning if it could not be, which is no fault of the trial.
///
/// # Errors
/// If a generator was lost.
fn told<T>(what: &str, measured: Option<Result<T>>) -> Result<Option<T>> {
    match measured {
        Some(Err(error)) if GeneratorLost::is_cause_of(&error) => Err(error),
        Some(Err(error)) => {
            terminal::say(format_args!("warning: {what}: {}", plain(&format!("{error:#}"))));
            Ok(None)
        }
        measured => Ok(measured.transpose()?),
    }
}

/// Generators on other hosts load what is started here.
///
/// # Errors
/// One line that names the options.
fn ensure_here(args: &RunArgs, choice: &TargetChoice) -> Result<()> {
    ensure!(
        args.host.generators.is_none() || !matches!(choice, TargetChoice::Address { .. }),
        "--generators load a server that is started here, on the address of --listen: give --server or --command instead of \
         --target, or leave --generators out"
    );
    Ok(())
}

fn ensure_loopback(plan: &Plan, target: &Target) -> Result<()> {
    if let Target::Address { addr, .. } = target {
        ensure!(
            plan.source_addresses == 1 || (addr.is_ipv4() && addr.ip().is_loopback()),
            "--source-addresses are addresses of 127/8, from which {addr} cannot be reached: leave it out"
        );
    }
    Ok(())
}

/// Refuses a drain window of which nothing could come.
fn ensure_drain(args: &RunArgs, plan: &Plan, choice: &TargetChoice) -> Result<()> {
    if !args.drain {
        return Ok(());
    }
    match choice {
        TargetChoice::Address { pid: None, .. } => {
            bail!("the drain window stops and continues the server's process: give --pid, or leave --drain out")
        }
        TargetChoice::Address { pid: Some(pid), .. } => {
            Stoppable::open(&[*pid]).map_err(|why| anyhow!("--drain cannot stop the server: {why}")).map(drop)?;
        }
        TargetChoice::Server(name) => ensure!(
            !serves_one(name) || plan.connections == 0,
            "{name} serves one connection at a time, and the drain window needs others: leave --drain out"
        ),
        TargetChoice::Command(_) => {}
    }
    ensure!(
        plan.drain_connections() > 0,
        "no connection of the drain window fits beside {} others: ask for fewer --connections, or leave --drain out",
        plan.all_connections()
    );
    Ok(())
}

fn plan(args: &RunArgs) -> Result<Plan> {
    let load = if args.closed {
        Load::Closed { depth: args.depth }
    } else {
        Load::Open { rate: args.rate.clone(), arrivals: args.arrivals }
    };
    let status_interval = match args.target() {
        TargetChoice::Command(template) if !template.takes(Placeholder::StatusInterval) => args.status_interval,
        TargetChoice::Server(_) | TargetChoice::Command(_) => Some(args.status_interval.unwrap_or(STATUS_INTERVAL)),
        TargetChoice::Address { .. } => args.status_interval,
    };
    if !args.closed {
        ensure_slots(&args.rate, args.duration, "--rate", "--duration")?;
        ensure_slots(&args.rate, args.warmup, "--rate", "--warmup")?;
    }
    let windows = Windows {
        idle: args.idle,
        warmup: args.warmup,
        load: args.duration,
        peak: args.peak,
        drain_bursts: args.drain_bursts(),
    };
    let shape = Shape {
        connections: args.connections,
        load,
        payloads: args.payload.clone(),
        windows,
        status_interval,
        cohorts: cohorts(&args.cohorts),
        service: args.service.service(),
    };
    prepare(shape, &args.host, args.seed)
}

fn cohorts(args: &CohortArgs) -> Cohorts {
    Cohorts { slow_readers: args.slow_readers, churn_per_sec: args.churn, flooders: args.flooders }
}
