"""The collision report: one self-contained HTML page of tables and plots."""

import html
from collections.abc import Sequence
from typing import Any

from sola_scale.analysis import plots

Figures = dict[str, Any]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1080px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.7rem } h2 { margin-top: 2.2rem; font-size: 1.2rem } p, li { max-width: 44rem }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left } th { border-bottom: 2px solid #888; font-weight: 600 }
.yes { color: #0f7b6c } .no { color: #b3261e } .plots { display: flex; flex-wrap: wrap; gap: 1rem } .plots svg { max-width: 100% }
code { background: #f4f4f2; padding: .1rem .3rem }
"""


def render(figures: Figures) -> str:
    """Build the page from what ``scripts/collision_analysis.py`` wrote as JSON."""
    parts = [_header(figures), _table(figures), _growth(figures), _sweep(figures)]
    if figures.get("views"):
        parts.append(_views(figures))
    body = "\n".join(parts)
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Key collisions</title><style>{_STYLE}</style>{body}</html>'


def _header(figures: Figures) -> str:
    setting = figures["setting"]
    facts = "".join(
        f"<li>{html.escape(str(key))}: {html.escape(str(value))}</li>" for key, value in setting.items()
    )
    return f"<h1>Key collisions</h1><ul>{facts}</ul>"


def _table(figures: Figures) -> str:
    head = [
        "pool",
        "queries",
        "fires",
        "95 %",
        "wrong edit",
        "nearest key right",
        "right in candidates",
        "read again",
        "target",
    ]
    rows = []
    for row in figures["table"]:
        sign = "≥" if row["wanted"] == "right" else "≤"
        mark = f'<span class="{"yes" if row["reached"] else "no"}">{sign} {_share(row["target"])}</span>'
        low, high = row["interval"]
        rows.append(
            [
                html.escape(row["pool"]),
                str(row["queries"]),
                f"<b>{_share(row['fires'])}</b>",
                f"{_share(low)} - {_share(high)}",
                _share(row["fires_wrong_edit"]),
                _share(row["nearest_key_right"]),
                _share(row["right_among_candidates"]),
                _share(row["read_again"]),
                mark,
            ]
        )
    own = [
        [
            html.escape(row["pool"]),
            _share(row["rate"]),
            f"{row['threshold']:.4f}",
            *map(_share, row["fires"].values()),
        ]
        for row in figures["own_thresholds"]
    ]
    names = list(figures["own_thresholds"][0]["fires"]) if figures["own_thresholds"] else []
    return (
        "<h2>At one threshold</h2><p>Every pool meets the same store and the same threshold. "
        "“Fires” is the right edit where there is one, any edit where there is none.</p>"
        + _html_table(head, rows)
        + "<h2>At each pool's own threshold</h2><p>The threshold that just keeps one pool to its target, "
        "and the paraphrases that still fire there.</p>"
        + _html_table(["pool kept", "at", "threshold", *names], own)
    )


def _growth(figures: Figures) -> str:
    rows = figures["growth"]["rows"]
    right = [row["pool"] for row in figures["table"] if row["wanted"] == "right" and "own" not in row["pool"]]
    silent = [row["pool"] for row in figures["table"] if row["wanted"] == "silent"]
    cells = [
        [
            f"{row['crowd']:,}",
            f"{row['nearest_other_edit']['0.5']:.3f}",
            f"{row['paraphrase_radius_95']:.3f}",
            _share(row["collision_rate"]),
        ]
        + [_share(row["pools"][name]["fires"]) for name in (*right, *silent)]
        for row in rows
    ]
    beyond = figures["growth"]["at_1M"]
    if beyond:
        cells.append(
            ["1,000,000 (trend)", "-", "-", _share(beyond["collision_rate"])]
            + [_share(beyond["pools"][name]["fires"]) for name in (*right, *silent)]
        )
    head = [
        "edits beside",
        "nearest other (median)",
        "radius of 95 % of paraphrases",
        "collide at it",
        *right,
        *silent,
    ]
    drawn = [
        plots.svg(plots.distances(rows)),
        plots.svg(plots.rates(rows, "right_among_candidates", right, "right edit among 8 candidates")),
        plots.svg(plots.rates(rows, "fires", right, "fires the right edit")),
        plots.svg(plots.rates(rows, "fires", silent, "false fires")),
    ]
    return (
        "<h2>As the store grows</h2><p>An edit collides when another lies inside the radius that a router by distance alone "
        "would need to catch 95 % of paraphrases. Verification is what tells them apart.</p>"
        + _html_table(head, cells)
        + _plots(drawn)
    )


def _sweep(figures: Figures) -> str:
    right = [row["pool"] for row in figures["table"] if row["wanted"] == "right" and "own" not in row["pool"]]
    silent = [row["pool"] for row in figures["table"] if row["wanted"] == "silent"]
    threshold = figures["setting"]["threshold"]
    drawn = [
        plots.svg(plots.roc(figures["sweep"], right, silent, threshold)),
        plots.svg(plots.det(figures["sweep"], right, silent)),
        plots.svg(plots.thresholds(figures["sweep"], threshold)),
    ]
    return "<h2>Thresholds</h2>" + _plots(drawn)


def _views(figures: Figures) -> str:
    rows = figures["views"]["rows"]
    keys = [("raw_l2", "raw, L2"), ("raw_cosine", "raw, cosine"), ("calibrated", "calibrated")]
    poolings = list(dict.fromkeys(row["pooling"] for row in rows))
    drawn = [plots.svg(plots.layers(rows, keys, pooling)) for pooling in poolings]
    cells = [
        [str(row["layer"]), row["pooling"]]
        + [_share(row[key][rank]) for key, _ in keys for rank in ("first", "top8")]
        for row in rows
    ]
    head = ["layer", "pooling", *(f"{label} {rank}" for _, label in keys for rank in ("first", "top 8"))]
    paper = [
        [
            name,
            *(
                f"{entry[key]:.4f}"
                for key in ("right_at_alpha", "false_at_alpha", "nearest_right", "best_gain")
            ),
        ]
        for name, entry in figures["views"]["paper"].items()
    ]
    return (
        "<h2>Views, layers, raw against calibrated</h2>"
        + _plots(drawn)
        + _html_table(head, cells)
        + "<h2>SoLA's own key</h2><p>Raw last token at the first and at the last edited layer, nearest key, fixed threshold.</p>"
        + _html_table(
            ["decision layer", "right at alpha", "false at alpha", "nearest right", "best right minus false"],
            paper,
        )
    )


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _plots(drawn: Sequence[str]) -> str:
    return '<div class="plots">' + "".join(drawn) + "</div>"


def _share(value: float | None) -> str:
    return (
        "-"
        if value is None
        else f"{100 * value:.1f} %"
        if value >= 0.01 or value == 0
        else f"{100 * value:.2f} %"
    )
