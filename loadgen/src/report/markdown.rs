//! report.md: what a session says, in the order in which it should be read.

use super::{pictures::Picture, recorded::Recorded, verdicts};
use crate::{
    judge::verdicts::{Finding, Places},
    record::{Metadata, PlanRecord},
    stats::verdict::{Margin, Verdict},
};

/// The parts of a report that the terminal shows as well.
pub(super) struct Parts {
    /// Configuration and validity.
    pub(super) head: String,
    /// The figures of the primary load.
    pub(super) table: String,
    /// The scorecard; empty if there is none.
    pub(super) scorecard: String,
    /// The figures of every load; empty if there is only one.
    pub(super) loads: String,
    /// What may be said of the other loads; empty if there is only one.
    pub(super) findings: String,
}

/// The whole report.
pub(super) fn markdown(recorded: &Recorded, parts: &Parts, pictures: &[Picture]) -> String {
    let metadata = &recorded.metadata;
    let mut text = format!("# Session {}\n\n{}.\n\n", escape(&metadata.session_id), escape(&origin(metadata)));
    section(&mut text, "May it be believed?", &fenced(&(parts.head.clone() + &verdicts::control(&recorded.judgement))));
    section(&mut text, "Verdicts", &sentences(recorded));
    if !parts.scorecard.is_empty() {
        section(&mut text, "The four rules", &fenced(&parts.scorecard));
    }
    section(&mut text, "Figures", &fenced(&parts.table));
    if !pictures.is_empty() {
        // In angle brackets the name of a file may hold anything but these and an end of the line.
        let nameable = pictures.iter().filter(|picture| !picture.name.contains(['<', '>', '\\']));
        let shown = |picture: &Picture| match picture.name.contains(|c: char| !c.is_alphanumeric() && c != '-') {
            false => format!("![{}]({}.svg)\n\n", escape(&picture.title), picture.name),
            true => format!("![{}](<{}.svg>)\n\n", escape(&picture.title), picture.name),
        };
        section(&mut text, "Pictures", &nameable.map(shown).collect::<String>());
    }
    if !parts.loads.is_empty() {
        section(&mut text, "Load by load", &fenced(&parts.loads));
        let secondary = "Secondary: each load is a family of its own, so one of twenty errs by chance.\n\n";
        section(&mut text, "What may be said of the other loads", &(secondary.to_owned() + &fenced(&parts.findings)));
    }
    section(&mut text, "What this session cannot tell", &limits(recorded));
    text
}

/// Host and build.
pub(super) fn origin(metadata: &Metadata) -> String {
    let of = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let (environment, build) = (&metadata.environment, &metadata.build);
    let host = format!("{}, kernel {}", of(&environment.cpu_model), environment.kernel);
    format!("{host}; loadgen of {}, {}", of(&build.git_revision), of(&build.rustc))
}

fn section(text: &mut String, title: &str, body: &str) {
    text.push_str(&format!("## {title}\n\n{}\n\n", body.trim()));
}

/// Text between fences that are longer than any within it.
pub(super) fn fenced(text: &str) -> String {
    let mut fence = "```".to_owned();
    while text.contains(&fence) {
        fence.push('`');
    }
    format!("{fence}text\n{}\n{fence}", text.trim_matches('\n'))
}

/// Text of a record that is no markup: neither HTML nor links, code or emphasis.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '[' | ']' => escaped.extend(['\\', character]),
            character => escaped.push(character),
        }
    }
    escaped
}

/// The verdicts as sentences that can be quoted by themselves.
fn sentences(recorded: &Recorded) -> String {
    let judgement = &recorded.judgement;
    if let Some(reason) = recorded.silence() {
        return format!("Nothing is claimed: {}.", escape(reason));
    }
    let mut text: String = judgement
        .findings
        .iter()
        .map(|finding| format!("- {}\n", quotable(finding, recorded.plan_of(finding.cell(&recorded.places)))))
        .collect();
    text.push_str(&format!(
        "\nThe intervals hold together with 95 %: a family of {} comparisons. Lower is better.",
        judgement.findings.len()
    ));
    text
}

/// One finding with all that it depends on.
pub(super) fn quotable(finding: &Finding, plan: Option<&PlanRecord>) -> String {
    let short = escape(&verdicts::sentence(finding));
    let metric = finding.metric.name;
    let place = escape(&conditions(plan));
    let Some(comparison) = finding.comparison.as_ref().filter(|_| !finding.ends_differ) else {
        return format!("**{metric}**: {short}");
    };
    let blocks = comparison.blocks;
    match comparison.verdict {
        Verdict::Lower | Verdict::Higher => {
            let lower = comparison.verdict == Verdict::Lower;
            let (one, other) =
                if lower { (&finding.second, &finding.first) } else { (&finding.first, &finding.second) };
            let (one, other) = (escape(one), escape(other));
            let (size, range) = verdicts::amounts(finding, comparison, lower);
            let size = match finding.metric.margin {
                Margin::Ratio(_) => format!("{size} lower"),
                Margin::Difference(_) => format!("lower by {size}"),
            };
            format!("**{metric}** of {one} is {size} than that of {other} ({place}): interval {range}, {blocks} blocks")
        }
        _ => format!("**{metric}**: {short} ({place}; {blocks} blocks)"),
    }
}

/// What a figure depends on besides the load.
pub(super) fn conditions(plan: Option<&PlanRecord>) -> String {
    let Some(plan) = plan else { return "configuration unknown".to_owned() };
    format!("{} placement, {}, {} pacing", plan.placement.name(), workers(plan.server_cpus.len()), plan.pacing.name())
}

fn workers(count: usize) -> String {
    if count == 1 { "1 worker".to_owned() } else { format!("{count} workers") }
}

pub(super) fn limits(recorded: &Recorded) -> String {
    let one_cpu = recorded.plan_of(&recorded.places.latency).is_some_and(|plan| plan.server_cpus.len() == 1);
    let cpus = if one_cpu {
        "- The server had one CPU: a runtime's worker threads, and threads at all, had nothing to run on in parallel. \
         Nothing is said of servers with several CPUs.\n"
    } else {
        ""
    };
    let loads = if recorded.places == Places::default() { "one load" } else { "these loads" };
    format!(
        "- One host, loopback, {loads}: other hosts and loads may turn the order round.\n{cpus}\
         - What holds in one session is replicated only if another one, on another day or host, agrees \
         (`loadgen report A B`).\n\
         - \"Undecided\" is not \"the same\"; \"equivalent\" is, within the margin.\n\
         - CPU time in a fan-out contains the clients' receive path, since loopback does it in the sender's system call.\n\
         - Peak throughput marked `>=`: the generator's CPU was full in most trials, the server's often as well, so the \
         server may do more.\n\
         - A guest of a hypervisor does not know whose cores its CPUs are: two of them may share one.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{judge::verdicts::PRIMARY, plan::Pacing, report::fixture::plan_record, stats::comparison::Comparison};

    #[test]
    fn a_verdict_can_be_quoted_by_itself() {
        let comparison = Comparison {
            estimate: 0.82,
            interval: (0.8, 0.84),
            level: 0.99,
            blocks: 40,
            p_value: 0.0,
            p_adjusted: 0.0,
            verdict: Verdict::Lower,
        };
        let finding = |metric: usize, comparison| Finding {
            metric: PRIMARY[metric],
            first: "tokio".to_owned(),
            second: "mio".to_owned(),
            comparison: Some(comparison),
            ends_differ: false,
        };
        let plan = PlanRecord { pacing: Pacing::Timer, ..plan_record() };
        assert_eq!(
            quotable(&finding(2, comparison), Some(&plan)),
            "**CPU per message** of mio is 18 % lower than that of tokio (split placement, 1 worker, timer pacing): \
             interval 16 to 20 %, 40 blocks"
        );
        let higher = Comparison { estimate: 13.3, interval: (13.2, 13.4), verdict: Verdict::Higher, ..comparison };
        assert!(quotable(&finding(3, higher), Some(&plan)).contains("of tokio is lower by 13.3/s than that of mio"));
    }
}
