"""Forest plot of the verdicts: every primary metric of every pair, with its confidence interval and the margin."""

from . import LeftOut
from .card import Grid, card
from .lines import ratio_axis
from .session import number
from .style import CONTROL_COLOUR, FAINT_INK, INK, colour_of, marker_of

TITLE = "Verdicts"
LEAD = "Left of the line the first server is lower, right of it the second; the grey band is the margin of equivalence"
RATIO_MARGIN = 0.03
HIGHER_IS_BETTER = {"drain rate"}
LAG = "the generator sent later to one of the two by more than a claim can bear"
ROW = 0.195  # inches


def draw(session):
    findings = list(session.rows_of("verdicts.csv"))
    groups = {}
    for finding in findings:
        if finding.get("family") in ("primary", "control") and finding.get("metric"):
            groups.setdefault(finding["metric"], []).append(finding)
    panel = list(groups.items())
    if not ends(panel):
        raise LeftOut("no verdict has an interval")
    arms = {arm.label: arm for arm in session.arms}
    trials = [trial for trial in session.trials if trial.text("cell") in (session.latency_cell, session.cpu_cell)]
    height = ROW * sum(len(group) + 1.4 for _, group in panel)
    names = [*map(pair, findings), *(heading(metric, session) + "  " for metric in groups)]
    texts = max(len(claim(finding)) for finding in findings)
    grid = Grid(
        1,
        1,
        height,
        above=0.1,
        below=0.5,
        right=0.25 + 0.073 * texts,
        gap=0.0,
        left=0.45 + 0.073 * max(map(len, names)),
    )
    notes = ["lower is better, of the drain rate higher", "simultaneous 95 % confidence intervals (Bonferroni)"]
    notes += ["grey band: within 3 %", f"blocks compared: {blocks(findings)}"]
    notes += [f"! and hollow: {LAG}"] if any(map(has_reservation, findings)) else []
    notes += ["in grey blue: a server against itself"] if any(f.get("family") == "control" for f in findings) else []
    figure, cells = card(TITLE, withheld_reason(findings) or LEAD, session, trials, notes, grid)
    draw_panel(figure.add_subplot(cells[0]), session, panel, arms)
    return figure


def draw_panel(axes, session, panel, arms):
    y, names = 0.0, []
    for metric, group in panel:
        y += 1.4
        axes.annotate(heading(metric, session), xy=(0, y - 0.1), xycoords=("axes fraction", "data"), **HEADING)
        for finding in group:
            y += 1
            draw_finding(axes, y, finding, arms)
            names.append((y, pair(finding)))
    axes.set_ylim(y + 0.7, 0.3)
    axes.set_yticks([place for place, _ in names], [name for _, name in names])
    axes.tick_params(axis="y", length=0)
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    ratio_axis(axes, ends(panel), "x")
    axes.axvspan(1 / (1 + RATIO_MARGIN), 1 + RATIO_MARGIN, color=MARGIN_COLOUR, linewidth=0, zorder=0)
    axes.axvline(1, color=FAINT_INK, linewidth=0.8, zorder=1)
    axes.set_xlabel("ratio, first / second (log scale)")


HEADING = {
    "xytext": (-6, 0),
    "textcoords": "offset points",
    "ha": "right",
    "va": "center",
    "fontweight": "bold",
    "annotation_clip": False,
}
MARGIN_COLOUR = "#E9E9E9"


def heading(metric, session):
    cell = session.cpu_cell if metric == "CPU per message" else session.latency_cell
    return f"{metric} ({cell})" if cell else metric


def draw_finding(axes, y, finding, arms):
    low_high, estimate = interval(finding), number(finding.get("estimate"))
    colour, marker = look(finding, arms)
    axes.annotate(
        claim(finding),
        xy=(1, y),
        xycoords=("axes fraction", "data"),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        color=colour,
        annotation_clip=False,
    )
    if low_high and estimate is not None:
        width, fill = (0.8, "white") if has_reservation(finding) else (1.8, colour)
        axes.plot(low_high, [y, y], color=colour, linewidth=width, solid_capstyle="butt", zorder=2)
        axes.plot([estimate], [y], color=colour, marker=marker, markersize=5, markerfacecolor=fill, zorder=3)


def look(finding, arms):
    """Colour and marker of the server that is claimed to be better, if any."""
    if finding.get("family") == "control":
        return CONTROL_COLOUR, "o"
    better = arms.get(better_arm(finding))
    if better:
        return colour_of(better), marker_of(better)
    return (INK if finding.get("verdict") == "equivalent" else FAINT_INK), "d"


def better_arm(finding):
    """The server that is claimed to be better; None without such a claim."""
    side = (finding.get("verdict") or "").removesuffix("_size_unclear")
    sides = {"lower": "second", "higher": "first"}
    if finding.get("metric") in HIGHER_IS_BETTER:
        sides = {"lower": "first", "higher": "second"}
    return finding.get(sides.get(side, ""))


def pairs_with_reservation(session):
    """The pairs whose latencies are compared with a reservation; none if the session has no verdicts."""
    try:
        return {pair(finding) for finding in session.rows_of("verdicts.csv") if finding.get("flag")}
    except LeftOut:
        return set()


def reservation_notes(session):
    return ["the generator sent later to some servers: ! in verdicts"] if pairs_with_reservation(session) else []


def has_reservation(finding):
    """Whether the session has a reservation about a claim; without a claim, it does not matter."""
    return bool(finding.get("flag") and better_arm(finding))


def claim(finding):
    """The claim in short with its mark of a reservation, without the interval, which the picture shows."""
    mark = " !" if has_reservation(finding) else ""
    verdict, better = finding.get("verdict") or "", better_arm(finding)
    word = "higher" if finding.get("metric") in HIGHER_IS_BETTER else "lower"
    if verdict.endswith("_size_unclear"):
        return f"{better} {word}, size unclear{mark}"
    if better:
        return f"{better} {amount(finding)} {word}{mark}"
    if verdict == "equivalent":
        return f"equivalent within {100 * RATIO_MARGIN:.0f} %"
    if verdict == "not_tested":
        return "not tested"
    return "inconclusive" if verdict in ("inconclusive", "bounds_disagree") else "no claim"


def amount(finding):
    """By how much the better server is lower, a share of the higher one, or higher, a share of the lower one."""
    estimate = number(finding.get("estimate"))
    ratio = estimate if better_arm(finding) == finding.get("second") else 1 / estimate
    return f"{100 * abs(1 - ratio):.0f} %"


def pair(finding):
    return f"{finding.get('second')} / {finding.get('first')}"


def interval(finding):
    low, high = number(finding.get("low")), number(finding.get("high"))
    return None if low is None or high is None else (low, high)


def ends(panel):
    return [end for _, group in panel for finding in group for end in interval(finding) or ()]


def withheld_reason(findings):
    """The reason why nothing is claimed, if so."""
    reasons = {finding.get("claim") or "" for finding in findings if finding.get("verdict") == "withheld"}
    return f"Nothing is claimed: {reasons.pop()}" if len(reasons) == 1 else None


def blocks(findings):
    counts = sorted({int(count) for count in (number(finding.get("blocks")) for finding in findings) if count})
    return f"{counts[0]}" + (f" to {counts[-1]}" if len(counts) > 1 else "")
