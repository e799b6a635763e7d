//! Tables of the loads that ask for more than echoes: work, handshakes, several CPUs. Their columns are the arms of these
//! loads, which have servers alongside the contestants.

use std::time::Duration;

use protocol::work::Work;

use super::{
    loads::median,
    tables::{Cell, Table, TableRow},
};
use crate::{
    judge::{
        break_even::{BreakEven, WorkCell, break_evens},
        counted::of_cell,
        metrics::{self, Metric, contestants},
        storm::{Storms, WELCOME},
    },
    plan::{PlacementKind, units::show_count},
    record::{CellRecord, Row},
    report::session::JudgedSession,
};

/// The load without work, if the session makes no primary claims.
const WITHOUT_WORK: &str = "cpu";

/// What has to be known to read the tables of the loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum LoadNote {
    /// Of every session of several loads.
    Basics,
    /// Loads at fractions of a rate.
    Rates,
    /// The load with a client that sleeps.
    Cpu,
    /// Loads without CPUs of their own for server and generator.
    Shared,
    /// Loads with as many status lines as messages.
    ManyConnections,
    /// Loads with slow readers.
    Stuck,
    /// Loads with the same work for all messages.
    Work,
    /// Loads with a few heavy messages.
    Heavy,
    /// Loads with handshakes.
    Handshake,
    /// Loads with several CPUs of the server.
    Scale,
}

/// Those that the cells of the session call for.
pub(super) fn notes(session: &JudgedSession) -> Vec<LoadNote> {
    let cells = &session.metadata.configuration.cells;
    let any = |is_meant: &dyn Fn(&CellRecord) -> bool| cells.iter().any(is_meant);
    let notes = [
        (LoadNote::Basics, true),
        (LoadNote::Rates, any(&|cell| cell.cell.starts_with("rate-") || cell.cell.starts_with("knee-"))),
        (LoadNote::Cpu, any(&|cell| cell.cell == WITHOUT_WORK)),
        (LoadNote::Shared, any(&|cell| cell.plan.placement == PlacementKind::Shared)),
        (LoadNote::ManyConnections, any(&|cell| cell.plan.connections >= 10_000)),
        (LoadNote::Stuck, any(&|cell| cell.plan.slow_readers > 0)),
        (LoadNote::Work, any(&|cell| same_work(cell).is_some_and(|work| !work.is_zero()))),
        (LoadNote::Heavy, any(&|cell| is_beside_heavy(session, cell))),
        (LoadNote::Handshake, any(&is_storm)),
        (LoadNote::Scale, any(&|cell| is_drained(session, cell))),
    ];
    notes.into_iter().filter(|(_, applies)| *applies).map(|(note, _)| note).collect()
}

/// The tables that the session has values for.
pub(super) fn tables(session: &JudgedSession) -> Vec<Table> {
    let all = [
        values(session, "light messages p99, us", metrics::light_p99, is_beside_heavy, |cell| cell),
        values(session, "drain rate, 1/s", metrics::drain_rate_per_sec, is_drained, as_count),
        welcome(session),
        cost(session),
    ];
    all.into_iter().flatten().filter(has_values).collect()
}

/// The first server with each of the others, under more and more work.
pub(super) fn work(session: &JudgedSession) -> Vec<BreakEven> {
    let cells = session.metadata.configuration.cells.iter();
    let work_cell = |cell: &CellRecord| {
        let without = if session.primary.cpu.is_empty() { WITHOUT_WORK } else { &session.primary.cpu };
        let work = same_work(cell).filter(|work| !work.is_zero() || cell.cell == without)?;
        Some(WorkCell { cell: cell.cell.clone(), work, arms: contestants(&cell.arms) })
    };
    let cells: Vec<WorkCell> = cells.filter_map(work_cell).collect();
    break_evens(&session.rows, &cells, &contestants(&session.arms))
}

/// The work of each message: of a cell that is called by it, such as `work-20us`, and zero of one without.
fn same_work(cell: &CellRecord) -> Option<Duration> {
    match &cell.plan.work {
        None => Some(Duration::ZERO),
        Some(work) if cell.cell == format!("work-{work}") => Some(work.parse::<Work>().ok()?.mean()),
        Some(_) => None,
    }
}

fn is_beside_heavy(session: &JudgedSession, cell: &CellRecord) -> bool {
    session.rows.iter().any(|row| row.cell_name() == cell.cell && metrics::has_light(row))
}

/// A drain beside that of the primary load.
fn is_drained(session: &JudgedSession, cell: &CellRecord) -> bool {
    cell.plan.drain_bursts > 0 && cell.cell != session.primary.latency
}

fn is_storm(cell: &CellRecord) -> bool {
    cell.plan.handshake_ms.is_some() && cell.plan.churn_per_sec > 0.0
}

/// A line per cell that is meant, with the median of each arm.
fn values(
    session: &JudgedSession,
    corner: &str,
    value: Metric,
    is_meant: fn(&JudgedSession, &CellRecord) -> bool,
    shown: fn(Cell) -> Cell,
) -> Option<Table> {
    let cells: Vec<&CellRecord> =
        session.metadata.configuration.cells.iter().filter(|cell| is_meant(session, cell)).collect();
    let columns = columns(&cells)?;
    let line = |cell: &&CellRecord| {
        let rows = of_cell(&session.rows, &cell.cell);
        let rate = rows.first().and_then(|row| row.rate_offered_per_sec).map_or_else(String::new, show_count);
        TableRow {
            name: format!("{} {rate}/s", cell.cell),
            cells: columns.iter().map(|arm| shown(median(&rows, arm, value))).collect(),
        }
    };
    let rows = cells.iter().map(line).collect();
    Some(Table { corner: corner.to_owned(), columns, rows })
}

/// A rate is no time.
fn as_count(cell: Cell) -> Cell {
    match cell {
        Cell::Nanoseconds(number) => Cell::Number(number),
        other => other,
    }
}

/// How long connections wait for the welcome: a line per cell and quantile.
fn welcome(session: &JudgedSession) -> Option<Table> {
    let (cells, columns, storms) = storms(session)?;
    let line = |cell: &CellRecord, (name, quantile): &(&str, _)| TableRow {
        name: format!("{} {name}", cell.cell),
        cells: columns.iter().map(|arm| nanoseconds(storms.welcome_ns(arm, &cell.cell, quantile))).collect(),
    };
    let rows = cells.iter().flat_map(|cell| WELCOME.iter().map(|quantile| line(cell, quantile))).collect();
    Some(Table { corner: "connect to welcome, us".to_owned(), columns, rows })
}

/// What a connection costs the server.
fn cost(session: &JudgedSession) -> Option<Table> {
    let (cells, columns, storms) = storms(session)?;
    let names: Vec<&str> = cells.iter().map(|cell| cell.cell.as_str()).collect();
    let cost = |arm: &String| nanoseconds(storms.cpu_per_connection_ns(arm, &names));
    let row = TableRow { name: "slope over storm cells".to_owned(), cells: columns.iter().map(cost).collect() };
    Some(Table { corner: "CPU/connection, us".to_owned(), columns, rows: vec![row] })
}

/// The cells whose connections shake hands, come and go, with their arms and values.
fn storms(session: &JudgedSession) -> Option<(Vec<&CellRecord>, Vec<String>, Storms)> {
    let cells: Vec<&CellRecord> = session.metadata.configuration.cells.iter().filter(|cell| is_storm(cell)).collect();
    let columns = columns(&cells)?;
    let names: Vec<&str> = cells.iter().map(|cell| cell.cell.as_str()).collect();
    let rows: Vec<Row> = session.rows.iter().filter(|row| names.contains(&row.cell_name())).cloned().collect();
    Some((cells, columns, Storms::of(&rows)))
}

/// All arms of these cells but controls, in their order; `None` without a cell.
fn columns(cells: &[&CellRecord]) -> Option<Vec<String>> {
    let mut columns: Vec<String> = Vec::new();
    for arm in cells.iter().flat_map(|cell| contestants(&cell.arms)) {
        if !columns.contains(&arm) {
            columns.push(arm);
        }
    }
    (!columns.is_empty()).then_some(columns)
}

fn nanoseconds(value: Option<f64>) -> Cell {
    value.map_or(Cell::Missing, Cell::Nanoseconds)
}

fn has_values(table: &Table) -> bool {
    table.rows.iter().flat_map(|row| &row.cells).any(|cell| !matches!(cell, Cell::Missing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::{Configuration, Latency, Metadata, Misbehaving, Outcome, PlanRecord},
        report::fixture::plan_record,
    };

    const ARMS: [&str; 3] = ["mio", "threads", "beside"];

    /// A session of 12 blocks of one cell, whose trials are those of `row`.
    fn session(name: &str, plan: PlanRecord, row: impl Fn(&str) -> Row) -> JudgedSession {
        let arms = ARMS.map(str::to_owned).to_vec();
        let cell = CellRecord { cell: name.to_owned(), arms: arms.clone(), blocks: 12, plan };
        let configuration = Configuration { arms: arms[..2].to_vec(), cells: vec![cell], ..Configuration::default() };
        let trial = |block: u64, arm: &str| Row {
            cell: Some(name.to_owned()),
            block,
            arm: arm.to_owned(),
            rate_offered_per_sec: Some(1_700.0),
            ..row(arm)
        };
        let rows = (1..=12).flat_map(|block| ARMS.map(|arm| trial(block, arm))).collect();
        JudgedSession::of(Metadata { configuration, ..Metadata::unknown() }, rows)
    }

    fn shown(table: &Table) -> Vec<String> {
        let line = |row: &TableRow| {
            let cells: Vec<String> = row.cells.iter().map(Cell::show).collect();
            format!("{}: {}", row.name, cells.join(" "))
        };
        table.rows.iter().map(line).collect()
    }

    #[test]
    fn the_light_messages_have_a_table_with_the_server_beside_the_contestants() {
        let plan = PlanRecord { work: Some("2us,0.2%:20ms".to_owned()), drain_bursts: 0, ..plan_record() };
        let session = session("heavy-tail", plan, |arm| Row {
            response_light_ns: Latency {
                p50: Some(30_000),
                p99: Some(if arm == "mio" { 23_600_000 } else { 4_200_000 }),
                ..Latency::default()
            },
            echoed_count: Some(3_400),
            outcome: if arm == "beside" { Outcome::Saturated } else { Outcome::Ok },
            ..Row::default()
        });
        let [table] = &tables(&session)[..] else { panic!("one table") };
        assert_eq!(table.columns, ARMS);
        assert_eq!(shown(table), ["heavy-tail 1700/s: 23600 4200 sat. 12/12"]);
        assert_eq!(notes(&session), [LoadNote::Basics, LoadNote::Heavy]);
    }

    #[test]
    fn the_waits_of_a_storm_and_the_drains_of_several_cpus_have_tables() {
        let plan = PlanRecord { handshake_ms: Some(1e3), churn_per_sec: 1e3, drain_bursts: 0, ..plan_record() };
        let session = session("storm-1000", plan, |_| Row {
            welcome_ns: Latency { p50: Some(90_000), p95: Some(200_000), p99: Some(300_000), ..Latency::default() },
            churn: Misbehaving { opened_count: Some(500), ..Misbehaving::default() },
            ..Row::default()
        });
        let [table] = &tables(&session)[..] else { panic!("one table: of one cell there is no slope") };
        assert_eq!(shown(table)[..2], ["storm-1000 p50: 90.0 90.0 90.0", "storm-1000 p95: 200 200 200"]);
        assert_eq!(notes(&session), [LoadNote::Basics, LoadNote::Handshake]);
        let scale = PlanRecord { work: Some("20us".to_owned()), ..plan_record() };
        let scale = self::session("scale-2", scale, |_| Row { drain_rate_per_sec: Some(98_765.4), ..Row::default() });
        let [table] = &tables(&scale)[..] else { panic!("one table") };
        assert_eq!(shown(table), ["scale-2 1700/s: 98765 98765 98765"]);
        assert_eq!(notes(&scale), [LoadNote::Basics, LoadNote::Scale], "its name is not that of its work");
    }

    #[test]
    fn a_cell_is_one_of_the_break_even_if_it_is_called_by_its_work() {
        let cell = |name: &str, work: Option<&str>| {
            let plan = PlanRecord { work: work.map(str::to_owned), ..plan_record() };
            same_work(&CellRecord { cell: name.to_owned(), arms: Vec::new(), blocks: 12, plan })
        };
        assert_eq!(cell("work-2us", Some("2us")), Some(Duration::from_micros(2)));
        assert_eq!((cell("cpu", None), cell("work-20us-rate-50", Some("20us"))), (Some(Duration::ZERO), None));
        assert_eq!(cell("heavy-tail", Some("2us,0.2%:20ms")), None);
    }

    #[test]
    fn a_note_explains_only_what_the_session_has() {
        let noted = |name: &str, change: fn(&mut PlanRecord)| {
            let mut plan = plan_record();
            change(&mut plan);
            notes(&session(name, plan, |_| Row::default()))
        };
        for (name, change, note) in [
            ("rate-50", (|_| ()) as fn(&mut PlanRecord), LoadNote::Rates),
            ("knee-115", |_| (), LoadNote::Rates),
            ("cpu", |_| (), LoadNote::Cpu),
            ("shared", |plan| plan.placement = PlacementKind::Shared, LoadNote::Shared),
            ("connections-10000", |plan| plan.connections = 10_000, LoadNote::ManyConnections),
            ("stuck", |plan| plan.slow_readers = 4, LoadNote::Stuck),
        ] {
            let found = noted(name, change);
            assert!(found.contains(&note) && found[0] == LoadNote::Basics, "{name}: {found:?}");
            let others = [LoadNote::Rates, LoadNote::Cpu, LoadNote::Shared, LoadNote::ManyConnections, LoadNote::Stuck];
            assert!(others.iter().all(|other| *other == note || !found.contains(other)), "{name}: {found:?}");
        }
        assert_eq!(noted("payload-1KiB", |plan| plan.drain_bursts = 0), [LoadNote::Basics]);
    }
}
