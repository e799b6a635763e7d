//! report.html: the report as one page that needs nothing else, neither script nor font nor network.

use super::{
    forest::Scale,
    markdown::{conditions, limits, origin},
    pictures::Picture,
    recorded::Recorded,
    scorecard::show,
    verdicts,
};
use crate::{
    judge::{
        metrics::is_control,
        scorecard::{Figure, Kept, Section},
        verdicts::{Finding, Metric},
    },
    record::Metadata,
    stats::verdict::Verdict,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// A table: a line of headings and lines of cells, the first of each a name.
pub(super) type Table = Vec<Vec<String>>;

/// What the page shows besides the verdicts.
pub(super) struct Content<'a> {
    /// Configuration and validity, line by line.
    pub(super) head: &'a str,
    pub(super) sections: &'a [Section],
    pub(super) contestants: &'a [String],
    /// The figures of the primary load.
    pub(super) figures: Table,
    /// A figure of every load each; none if there is only one.
    pub(super) loads: Vec<Table>,
}

/// The whole page.
pub(super) fn page(recorded: &Recorded, content: &Content<'_>, pictures: &[Picture]) -> String {
    let metadata = &recorded.metadata;
    let title = format!("Session {}", metadata.session_id);
    let mut body = format!("<h1>{}</h1>\n<p>{}</p>\n", escape(&title), escape(&origin(metadata)));
    let control = verdicts::control(&recorded.judgement);
    body.push_str(&section("May it be believed?", &(lines(content.head) + &paragraph(&control))));
    body.push_str(&section("Verdicts", &judged(recorded)));
    if !content.sections.is_empty() {
        body.push_str(&section("The four rules", &card(content.sections, content.contestants)));
    }
    body.push_str(&section("Figures", &(table(&content.figures) + &paragraph("Median (quartiles) over blocks."))));
    if !content.loads.is_empty() {
        let tables: String = content.loads.iter().map(table).collect();
        body.push_str(&section("Load by load", &tables));
    }
    body.push_str(&section("Pictures", &figures(pictures)));
    body.push_str(&section("The host", &environment(metadata)));
    let limits: String = limits(recorded).lines().map(|line| item(line.trim_start_matches("- "))).collect();
    body.push_str(&section("What this session cannot tell", &format!("<ul>\n{limits}</ul>\n")));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(&title)
    )
}

const STYLE: &str = include_str!("page.css");

/// Every finding under its metric, with its interval drawn; last the server that runs twice.
fn judged(recorded: &Recorded) -> String {
    if let Some(reason) = recorded.silence() {
        return paragraph(&format!("Nothing is claimed: {reason}."));
    }
    let judgement = &recorded.judgement;
    let mut html = paragraph(
        "Each line is a ratio of two servers with its interval: left of the line the first named is lower, and lower is \
         better. In the grey margin the two are equal enough.",
    );
    for group in judgement.findings.chunk_by(|one, other| one.metric.name == other.metric.name) {
        let Metric { name, margin, .. } = group[0].metric;
        let scale = Scale::of(judgement.findings.iter().chain(&judgement.control), margin);
        let control = judgement.control.iter().filter(|finding| finding.metric.name == name);
        let rows: String = group.iter().chain(control).map(|finding| verdict(finding, &scale)).collect();
        html.push_str(&format!(
            "<h3>{}</h3>\n<p class=\"faint\">{}</p>\n<table class=\"verdicts\">\n{rows}\
             <tr><th></th><td><div>{}</div></td></tr>\n</table>\n",
            escape(name),
            escape(&place(recorded, group[0].cell(&recorded.places))),
            scale.axis(),
        ));
    }
    let together = format!(
        "The intervals hold together with 95 %: a family of {} comparisons. report.md has each as a sentence that can be \
         quoted by itself.",
        judgement.findings.len()
    );
    html + &paragraph(&together)
}

fn verdict(finding: &Finding, scale: &Scale) -> String {
    let claims = !finding.ends_differ
        && finding.comparison.is_some_and(|comparison| !matches!(comparison.verdict, Verdict::Inconclusive { .. }));
    let is_control = is_control(&finding.second);
    let class = if claims && !is_control { "claim" } else { "faint" };
    let drawing = finding.comparison.as_ref().map_or_else(String::new, |comparison| scale.interval(comparison));
    format!(
        "<tr class=\"{class}\"><th>{} / {}</th><td><div>{drawing}<span>{}</span></div></td></tr>\n",
        escape(&finding.second),
        escape(&finding.first),
        escape(&verdicts::sentence(finding))
    )
}

/// Where the figures of a metric come from.
fn place(recorded: &Recorded, cell: &str) -> String {
    let used = recorded.judgement.blocks.iter().find(|(name, ..)| name == cell).map_or(0, |(_, used, _)| *used);
    let name = if cell.is_empty() { String::new() } else { format!("{cell}: ") };
    format!("{name}{}; {used} blocks", conditions(recorded.plan_of(cell)))
}

fn card(sections: &[Section], arms: &[String]) -> String {
    let mut html = String::new();
    for section in sections {
        html.push_str(&format!("<h3>{}</h3>\n<div class=\"wide\"><table>\n<tr><th></th>", escape(&section.title)));
        html.extend(arms.iter().map(|arm| format!("<th>{}</th>", escape(arm))));
        html.push_str("</tr>\n");
        for line in section.lines.iter().filter(|line| !line.figures.is_empty()) {
            let cells: String = line.figures.iter().map(figure).collect();
            html.push_str(&format!("<tr><th>{}</th>{cells}</tr>\n", escape(&line.name)));
        }
        html.push_str("</table></div>\n");
    }
    html
}

fn figure(figure: &Figure) -> String {
    let class = match figure {
        Figure::Verdict(Kept::Yes) => " class=\"yes\"",
        Figure::Verdict(Kept::No) => " class=\"no\"",
        _ => "",
    };
    let range = match figure {
        Figure::Interval { low, high, .. } => {
            format!(" <small>({} to {})</small>", show(&Figure::Number(*low)), show(&Figure::Number(*high)))
        }
        _ => String::new(),
    };
    format!("<td{class}>{}{range}</td>", escape(&show(figure)))
}

fn table(rows: &Table) -> String {
    let mut html = "<div class=\"wide\"><table>\n".to_owned();
    for (index, row) in rows.iter().enumerate() {
        let (name, cells) = row.split_first().map_or(("", &[][..]), |(name, cells)| (name.as_str(), cells));
        let tag = if index == 0 { "th" } else { "td" };
        let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
        html.push_str(&format!("<tr><th>{}</th>{cells}</tr>\n", escape(name)));
    }
    html + "</table></div>\n"
}

/// As images, since what one defines must not reach into another.
fn figures(pictures: &[Picture]) -> String {
    let figure = |picture: &Picture| {
        let (title, data) = (escape(&picture.title), STANDARD.encode(&picture.svg));
        format!("<figure><img alt=\"{title}\" src=\"data:image/svg+xml;base64,{data}\"></figure>\n")
    };
    if pictures.is_empty() {
        return paragraph("None yet: `scripts/plot.py DIR` draws them, and `loadgen report DIR` then shows them here.");
    }
    pictures.iter().map(figure).collect()
}

fn environment(metadata: &Metadata) -> String {
    let mut rows = vec![("command".to_owned(), metadata.command.join(" "))];
    rows.extend(metadata.environment.listed());
    let rows: String = rows
        .iter()
        .map(|(name, value)| format!("<tr><th>{}</th><td class=\"text\">{}</td></tr>\n", escape(name), escape(value)))
        .collect();
    format!(
        "<details>\n<summary>Everything that the record says about it</summary>\n<table>\n{rows}</table>\n</details>\n"
    )
}

fn section(title: &str, body: &str) -> String {
    format!("<section>\n<h2>{}</h2>\n{body}</section>\n", escape(title))
}

fn paragraph(text: &str) -> String {
    format!("<p>{}</p>\n", emphasis(text))
}

fn lines(text: &str) -> String {
    let lines: Vec<String> = text.trim().lines().map(|line| escape(line.trim())).collect();
    format!("<p>{}</p>\n", lines.join("<br>\n"))
}

fn item(text: &str) -> String {
    format!("<li>{}</li>\n", emphasis(text))
}

/// What stands between two pairs of asterisks is bold.
fn emphasis(text: &str) -> String {
    let escaped = escape(text);
    let parts: Vec<&str> = escaped.split("**").collect();
    let bold = |(index, part): (usize, &&str)| {
        if index % 2 == 1 { format!("<strong>{part}</strong>") } else { (*part).to_owned() }
    };
    parts.iter().enumerate().map(bold).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{observe::Facts, report::fixture};

    #[test]
    fn what_a_record_says_is_text_and_never_markup() {
        let pictures = [Picture { name: "b".to_owned(), title: "b<i>".to_owned(), svg: "<svg/>".to_owned() }];
        let arms = vec!["<b>mio</b>".to_owned(), "tokio".to_owned()];
        let metadata = Metadata {
            session_id: "</title><script>".to_owned(),
            command: vec!["<x>".to_owned()],
            environment: Facts { host: "\"&<".to_owned(), ..Facts::default() },
            ..Metadata::unknown()
        };
        let recorded = fixture::recorded(metadata, &["<b>mio</b>", "tokio"]);
        let figures = vec![vec!["<u>".to_owned(), arms[0].clone()], vec!["p50 <".to_owned(), "1".to_owned()]];
        let content =
            Content { head: "validity: <none>\n", sections: &[], contestants: &arms, figures, loads: Vec::new() };
        let page = page(&recorded, &content, &pictures);
        for markup in ["<script", "<b>", "<u>", "<x>", "<none>", "<i>"] {
            assert!(!page.contains(markup), "{markup} got through:\n{page}");
        }
        assert!(page.contains("&lt;b&gt;mio&lt;/b&gt;") && page.contains("&quot;&amp;&lt;"), "{page}");
        assert!(page.contains("data:image/svg+xml;base64,PHN2Zy8+"), "{page}");
        assert!(!page.contains("http://") && !page.contains("https://"), "it needs nothing else:\n{page}");
    }
}
