//! The report of a session as data: everything that is said, with its numbers and with the tone of each cell. Renderers
//! choose words and layout.

mod loads;
mod quantities;
mod services;
mod tables;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use self::{
    loads::{SecondaryFamily, secondary},
    quantities::{FIGURES, Quantity},
    services::LoadNote,
    tables::{Cell, Table, TableRow},
};
use super::{pictures::Picture, session::JudgedSession};
use crate::{
    judge::{
        blocks::BlockCount,
        break_even::BreakEven,
        counted::of_cell,
        metrics::{contestants, idle_cpu_us_per_sec, idle_wakeups_per_sec},
        power::{Power, powers},
        scorecard::{Rule, RuleSection, RuleValue, SourceLines, scorecard},
        shift::{Shift, shifts},
        verdicts::{ControlResult, Judgement, PairComparison, WithheldReason},
    },
    plan::Pacing,
    record::{Outcome, PilotEntry, PlanRecord, Primary, Reason, ReasonKind, Row, State, Validity},
    stats::{quantile, verdict::Margin},
};
use tables::usable_values;

/// Everything that is said about a session.
pub(super) struct Report {
    pub(super) session_id: String,
    pub(super) origin: Origin,
    pub(super) head: Head,
    pub(super) blocks: Vec<BlockCount>,
    pub(super) control: Control,
    /// How small a difference the session could have found.
    pub(super) powers: Vec<Power>,
    /// How the distributions of each pair differ, quantile by quantile.
    pub(super) shifts: Vec<Shift>,
    /// What each server does when nothing happens at all; none if that was not measured.
    pub(super) silent: Option<Silent>,
    /// Why no claim is made, if so.
    pub(super) withheld: Option<WithheldReason>,
    pub(super) claims: Vec<MetricClaims>,
    pub(super) scorecard: Vec<RuleTable>,
    pub(super) figures: Table,
    pub(super) notes: Vec<Note>,
    /// A table per quantity, of the medians under every load; none if there is only one load.
    pub(super) loads: Vec<Table>,
    /// What has to be known to read them.
    pub(super) load_notes: Vec<LoadNote>,
    /// From how much work on servers need the same CPU time; none if no claim is made.
    pub(super) break_evens: Vec<BreakEven>,
    /// The claims under the other loads; none if no claim is made.
    pub(super) secondary: Vec<SecondaryFamily>,
    pub(super) limits: Vec<Limit>,
    pub(super) command: String,
    pub(super) host: Vec<(String, String)>,
    pub(super) pictures: Vec<Picture>,
}

/// Host and build.
pub(super) struct Origin {
    pub(super) cpu_model: Option<String>,
    pub(super) kernel: String,
    pub(super) git_revision: Option<String>,
    pub(super) rustc: Option<String>,
}

/// Configuration and validity.
pub(super) struct Head {
    /// `None` if session.json was cut.
    pub(super) plan: Option<PlanRecord>,
    /// The names of the generators' hosts; empty if there is none but this one.
    pub(super) hosts: Vec<String>,
    pub(super) pilot: Vec<PilotEntry>,
    pub(super) state: State,
    pub(super) trials: usize,
    pub(super) blocks: usize,
    pub(super) valid: usize,
    pub(super) flagged: usize,
    pub(super) invalid: usize,
    pub(super) failed: usize,
    pub(super) saturated: usize,
    pub(super) unclear: usize,
    /// Why trials are invalid, the most frequent reason first.
    pub(super) invalid_reasons: Vec<ReasonCount>,
    /// The flags, the most frequent first.
    pub(super) flags: Vec<ReasonCount>,
}

/// How many trials have a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReasonCount {
    pub(super) kind: ReasonKind,
    pub(super) trials: usize,
}

/// The arm that runs twice.
pub(super) struct Control {
    pub(super) result: ControlResult,
    /// The ratio with the widest interval: smaller effects are not excluded.
    pub(super) widest: Option<PairComparison>,
}

/// The servers with connections, without a message and without a status line.
pub(super) struct Silent {
    pub(super) connections: u32,
    pub(super) arms: Vec<SilentArm>,
}

/// Medians over blocks.
pub(super) struct SilentArm {
    pub(super) arm: String,
    pub(super) cpu_us_per_sec: f64,
    pub(super) wakeups_per_sec: f64,
}

/// The claims about one metric.
pub(super) struct MetricClaims {
    pub(super) metric: &'static str,
    pub(super) margin: Margin,
    /// The cell that the values are from; empty if there is only one load.
    pub(super) cell: String,
    pub(super) plan: Option<PlanRecord>,
    /// Blocks that are used.
    pub(super) blocks: usize,
    pub(super) pairs: Vec<PairComparison>,
    pub(super) control: Vec<PairComparison>,
}

/// The quantities of a rule, and whether each arm satisfies it.
pub(super) struct RuleTable {
    pub(super) rule: Rule,
    pub(super) table: Table,
}

/// What has to be known to read the figures.
pub(super) enum Note {
    Basics,
    /// CPU per message comes from a load with a sleeping client.
    CpuCell(String),
    /// CPU per message comes from a load with a spinning client.
    SpinningClient,
}

/// What the session cannot tell.
pub(super) enum Limit {
    OneHost { several_loads: bool },
    OneCpu,
    Replication,
    Inconclusive,
    FanOutCpu,
    PeakBound,
    Hypervisor,
}

impl Report {
    pub(super) fn of(session: &JudgedSession, pictures: Vec<Picture>) -> Self {
        let metadata = &session.metadata;
        let (environment, build) = (&metadata.environment, &metadata.build);
        let withheld = session.withheld_reason();
        let arms = contestants(&session.arms);
        let several_loads = !metadata.configuration.cells.is_empty();
        let loads = if several_loads { loads::tables(session) } else { Vec::new() };
        let explores = matches!(withheld, None | Some(WithheldReason::Exploratory));
        let secondary = if several_loads && explores { loads::secondary(session) } else { Vec::new() };
        let lines = SourceLines { logic: &metadata.logic_lines, regions: &metadata.region_lines };
        let rules = scorecard(&session.rows, &arms, &lines);
        Self {
            session_id: metadata.session_id.clone(),
            origin: Origin {
                cpu_model: environment.cpu_model.clone(),
                kernel: environment.kernel.clone(),
                git_revision: build.git_revision.clone(),
                rustc: build.rustc.clone(),
            },
            head: Head::of(session),
            blocks: session.judgement.blocks.clone(),
            control: Control::of(&session.judgement),
            powers: powers(&session.rows, &session.arms, &session.primary),
            shifts: shifts(&session.rows, &session.arms, &session.primary.latency),
            silent: Silent::of(session),
            withheld,
            claims: claims(session),
            scorecard: rules.into_iter().map(|section| RuleTable::of(section, &arms)).collect(),
            figures: quantities::figures(session),
            notes: notes(session),
            loads,
            load_notes: services::notes(session),
            break_evens: if several_loads && explores { services::work(session) } else { Vec::new() },
            secondary,
            limits: limits(session),
            command: metadata.command.join(" "),
            host: environment.listed(),
            pictures,
        }
    }

    /// Comparisons in the family of the primary claims.
    pub(super) fn family_size(&self) -> usize {
        self.claims.iter().map(|group| group.pairs.len()).sum()
    }
}

impl Head {
    fn of(session: &JudgedSession) -> Self {
        let rows = &session.rows;
        let validity = |wanted: Validity| rows.iter().filter(|row| row.validity == wanted).count();
        let outcomes = |wanted: Outcome| rows.iter().filter(|row| row.outcome == wanted).count();
        let blocks: BTreeSet<(&str, u64)> = rows.iter().map(|row| (row.cell_name(), row.block)).collect();
        Self {
            plan: session.plan_of(&session.primary.latency).cloned(),
            hosts: session.metadata.configuration.hosts.iter().map(|host| host.name.clone()).collect(),
            pilot: session.metadata.configuration.pilot.clone(),
            state: session.metadata.state,
            trials: rows.len(),
            blocks: blocks.len(),
            valid: validity(Validity::Valid),
            flagged: validity(Validity::Flagged),
            invalid: validity(Validity::Invalid),
            failed: outcomes(Outcome::Failed),
            saturated: outcomes(Outcome::Saturated),
            unclear: outcomes(Outcome::Unclear),
            invalid_reasons: by_frequency(rows, |row| &row.invalid_reasons),
            flags: by_frequency(rows, |row| &row.flags),
        }
    }
}

fn by_frequency(rows: &[Row], reasons: fn(&Row) -> &[Reason]) -> Vec<ReasonCount> {
    let mut counts: BTreeMap<ReasonKind, usize> = BTreeMap::new();
    for reason in rows.iter().flat_map(reasons) {
        *counts.entry(reason.kind).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().map(|(kind, trials)| ReasonCount { kind, trials }).collect();
    counts.sort_by_key(|count| std::cmp::Reverse(count.trials));
    counts
}

impl Control {
    fn of(judgement: &Judgement) -> Self {
        let width = |pair: &PairComparison| pair.comparison().map(|it| it.interval.1 / it.interval.0);
        let ratios = judgement.control.iter().filter(|pair| matches!(pair.metric.margin, Margin::Ratio(_)));
        let widest = ratios
            .filter_map(|pair| Some((pair, width(pair)?)))
            .max_by(|(_, one), (_, other)| one.total_cmp(other))
            .map(|(pair, _)| pair.clone());
        Self { result: judgement.control_result(), widest }
    }
}

impl Silent {
    /// From the first cell in which nothing happens.
    fn of(session: &JudgedSession) -> Option<Self> {
        let is_silent =
            |plan: &PlanRecord| plan.connections > 0 && plan.load_ms == 0.0 && plan.status_interval_ms == Some(0.0);
        let cell = session.metadata.configuration.cells.iter().find(|cell| is_silent(&cell.plan))?;
        let rows = of_cell(&session.rows, &cell.cell);
        let arm = |arm: String| {
            let median = |value| quantile(&usable_values(&rows, &arm, value), 0.5);
            let (cpu_us_per_sec, wakeups_per_sec) = (median(idle_cpu_us_per_sec)?, median(idle_wakeups_per_sec)?);
            Some(SilentArm { arm, cpu_us_per_sec, wakeups_per_sec })
        };
        let arms: Vec<SilentArm> = contestants(&cell.arms).into_iter().filter_map(arm).collect();
        (!arms.is_empty()).then_some(Self { connections: cell.plan.connections, arms })
    }
}

impl RuleTable {
    fn of(section: RuleSection, arms: &[String]) -> Self {
        let RuleSection { rule, outcomes, lines } = section;
        let outcomes = outcomes.into_iter().map(Cell::Outcome).collect();
        let satisfied = TableRow { name: "satisfied".to_owned(), cells: outcomes };
        // A session of chosen cells has values for some lines only.
        let lines = lines
            .into_iter()
            .filter(|line| line.values.iter().any(|value| *value != RuleValue::Unknown))
            .map(|line| TableRow { name: line.name, cells: line.values.into_iter().map(Cell::from).collect() });
        let rows = [satisfied].into_iter().chain(lines).filter(|row| !row.cells.is_empty()).collect();
        Self { rule, table: Table { corner: String::new(), columns: arms.to_vec(), rows } }
    }
}

/// The claims by metric, in the order of the metrics.
fn claims(session: &JudgedSession) -> Vec<MetricClaims> {
    let judgement = &session.judgement;
    let groups = judgement.pairs.chunk_by(|one, other| one.metric.name == other.metric.name);
    let claims = |pairs: &[PairComparison]| {
        let metric = pairs[0].metric;
        let cell = metric.cell(&session.primary);
        let control = judgement.control.iter().filter(|pair| pair.metric.name == metric.name);
        MetricClaims {
            metric: metric.name,
            margin: metric.margin,
            cell: cell.to_owned(),
            plan: session.plan_of(cell).cloned(),
            blocks: judgement.blocks.iter().find(|count| count.cell == cell).map_or(0, |count| count.used),
            pairs: pairs.to_vec(),
            control: control.cloned().collect(),
        }
    };
    groups.map(claims).collect()
}

fn notes(session: &JudgedSession) -> Vec<Note> {
    if session.is_exploratory() {
        // There are no figures to read.
        return Vec::new();
    }
    let pacing = session.plan_of(&session.primary.latency).map(|plan| plan.pacing);
    let cpu = match session.primary.cpu.as_str() {
        "" if pacing == Some(Pacing::Spin) => Some(Note::SpinningClient),
        "" => None,
        cell => Some(Note::CpuCell(cell.to_owned())),
    };
    [Some(Note::Basics), cpu].into_iter().flatten().collect()
}

fn limits(session: &JudgedSession) -> Vec<Limit> {
    let one_cpu = session.plan_of(&session.primary.latency).is_some_and(|plan| plan.server_cpus.len() == 1);
    let one_host = Limit::OneHost { several_loads: session.primary != Primary::default() };
    let others = [Limit::Replication, Limit::Inconclusive, Limit::FanOutCpu, Limit::PeakBound, Limit::Hypervisor];
    [one_host].into_iter().chain(one_cpu.then_some(Limit::OneCpu)).chain(others).collect()
}
