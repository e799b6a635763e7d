//! The medians of sessions of one host.

use super::admission::{Candidate, host, used};
use crate::{
    report::{layout::Widths, model::FIGURES, session::JudgedSession, text::shown},
    text::Text,
};

/// Names, and the medians of each session.
const WIDTHS: Widths = Widths { names: 24, others: 27 };
/// Sessions that fit side by side.
const COLUMNS: usize = 2;

/// The medians of every session, unless their hosts differ.
pub(super) fn figures(candidates: &[Candidate<'_>]) -> Text {
    let used: Vec<&Candidate<'_>> = used(candidates).collect();
    let Some(first) = used.first() else { return Text::default() };
    let ((cpu, kernel), hosts) = (host(first.session), used.iter().map(|it| host(it.session)));
    let mut differences = Vec::new();
    if hosts.clone().any(|(other, _)| other != cpu) {
        differences.push("another CPU");
    }
    if hosts.clone().any(|(_, other)| other != kernel) {
        differences.push("another kernel, which may account CPU time differently");
    }
    if !differences.is_empty() {
        return format!("no figures side by side: {}\n", differences.join(", ")).into();
    }
    let mut text = Text::from(
        "\nmedian (quartiles) over blocks; the sessions were not interleaved, so a\n\
         difference between them may be host drift\n\n",
    );
    text.push(used.chunks(COLUMNS).map(table).collect::<Text>());
    text
}

fn table(sessions: &[&Candidate<'_>]) -> Text {
    let mut text = Text::default();
    let rows: Vec<_> = sessions.iter().map(|it| JudgedSession::primary_rows(it.session)).collect();
    let mut arms: Vec<&String> = Vec::new();
    for arm in sessions.iter().flat_map(|it| &it.session.arms) {
        if !arms.contains(&arm) {
            arms.push(arm);
        }
    }
    for arm in arms {
        text.push(WIDTHS.line(arm, sessions.iter().map(|it| Text::from(&it.label))));
        for quantity in &FIGURES {
            let cells = rows.iter().map(|rows| shown(&quantity.cell(rows, arm)));
            text.push(WIDTHS.line(&format!("  {}", quantity.label()), cells));
        }
    }
    text
}
