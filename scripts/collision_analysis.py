"""Do keys collide? Route real questions in stores of up to 100,000 edits, and write the figures and a report.

::

    python scripts/collision_analysis.py --data DATA --out report/        # the shipped calibration
    python scripts/collision_analysis.py --data DATA --out report/ --fit  # one fitted on DATA's fitting sets
    python scripts/collision_analysis.py --store my-edits --out report/   # the edits of a store, among themselves

Views once taken lie in ``<out>/views`` and are not taken again: an interrupted run resumes.
"""

import argparse
import json
import platform
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import TaskID
from rich.table import Table

from sola_scale.analysis.ablation import ablate_views, paper_key, paraphrases
from sola_scale.analysis.cache import ViewCache
from sola_scale.analysis.figures import at_own_thresholds, growth, sweep, table
from sola_scale.analysis.files import read_fitting_pairs, read_trial
from sola_scale.analysis.report import render
from sola_scale.analysis.routing import Contest
from sola_scale.analysis.stores import store_figures
from sola_scale.analysis.trial import Trial
from sola_scale.backbone import Backbone, View, fingerprint, load_backbone
from sola_scale.keys import Calibration, default_calibration, default_pairs
from sola_scale.keys.corpus import corpus_of
from sola_scale.keys.cross_fitting import with_cross_encoder
from sola_scale.keys.default import FALSE_FIRE
from sola_scale.keys.fitting import embedding_of, fit_from_views
from sola_scale.keys.layout import default_layout
from sola_scale.keys.paper import ALPHA
from sola_scale.keys.scorer import sigmoid

ABLATION_LAYERS = (1, 2, 4, 8, 12, 16, 20, 24, 26, 29)
"""Layers whose every pooling is tried; the last is the input of the last layer, where SoLA's router may also sit."""

PUBLIC_FALSE_FIRE = 0.04
"""Near misses that may fire a calibration of public and own pairs: two in three are own ones, which are harder than any met."""


class Reporter:
    """One progress bar a step."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        """Move the bar of ``label``."""
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(label, total=total)
        self._bars.update(self._tasks[label], completed=done, total=total)


def analyse(arguments: argparse.Namespace, report: Reporter) -> dict[str, Any]:
    """Run the whole analysis on a folder of data."""
    started = time.monotonic()
    backbone = load_backbone(arguments.model)
    model = fingerprint(backbone)["model"]
    calibration = _calibration(arguments, backbone, model, report).on(backbone)
    trial = read_trial(
        arguments.data, crowd=max(arguments.sizes), edits=arguments.edits, unseen=arguments.unseen
    )
    cache = arguments.out / "views"
    early_view = calibration.views[calibration.retrieval.view]
    contest = Contest(
        calibration,
        trial,
        ViewCache(cache, backbone, (early_view,), model),
        ViewCache(cache, backbone, calibration.views, model),
        report,
    )
    runs, nearest = [], []
    for size in arguments.sizes:
        runs.append(contest.run(size))
        nearest.append(contest.nearest_edits(size))
    figures = {
        "setting": _setting(arguments, calibration, trial, time.monotonic() - started),
        "table": table(runs[-1], calibration.threshold),
        "own_thresholds": at_own_thresholds(runs[-1]),
        "sweep": sweep(runs[-1]),
        "growth": growth(arguments.sizes, runs, nearest, calibration.threshold),
    }
    if arguments.ablate:
        figures["views"] = _ablation(arguments, backbone, trial, model=model, cache=cache, report=report)
    return figures


def _calibration(
    arguments: argparse.Namespace, backbone: Backbone, model: str, report: Reporter
) -> Calibration:
    if arguments.calibration:
        return Calibration.from_bytes(arguments.calibration.read_bytes())
    if not arguments.fit:
        return default_calibration(backbone, progress=lambda done, total: report("calibrating", done, total))
    layout = default_layout(len(backbone.architecture.layers))
    corpus = corpus_of(default_pairs() if arguments.fit == "own" else read_fitting_pairs(arguments.data))
    if arguments.fit_dtype != "float32":
        backbone = load_backbone(arguments.model, dtype=getattr(torch, arguments.fit_dtype))
    cache = ViewCache(arguments.out / "views", backbone, layout.views, fingerprint(backbone)["model"])
    views_NVD = cache.get(corpus.texts, lambda done, total: report("views of the fitting pairs", done, total))
    note = "own pairs" if arguments.fit == "own" else "CounterFact train, MQuAKE, own pairs"
    fitted = fit_from_views(
        corpus,
        views_NVD,
        layout,
        embedding_ND=embedding_of(backbone),
        model=model,
        false_fire=FALSE_FIRE if arguments.fit == "own" else PUBLIC_FALSE_FIRE,
        note=f"{note}; views in {arguments.fit_dtype}",
    )
    calibration = fitted.calibration
    (arguments.out / "calibration.safetensors").write_bytes(calibration.to_bytes())
    fitted.doubts.save(arguments.out / "doubts.safetensors")
    if arguments.cross_encoder:
        training = partial(report, "training the cross-encoder")
        calibration = with_cross_encoder(calibration, backbone, fitted.doubts, progress=training)
        (arguments.out / "calibration.safetensors").write_bytes(calibration.to_bytes())
    return calibration


def _setting(
    arguments: argparse.Namespace, calibration: Calibration, trial: Trial, seconds: float
) -> dict[str, Any]:
    return {
        "model": arguments.model,
        "calibration": f"{calibration.id}: {calibration.note}",
        "views": ", ".join(f"{view.layer} {view.pooling}" for view in calibration.views),
        "key bytes": calibration.key_bytes,
        "cross-encoder": _described(calibration),
        "threshold": calibration.threshold,
        "edits tested": len(trial.edits),
        "edits beside": len(trial.crowd),
        "seconds": round(seconds),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
    }


def _described(calibration: Calibration) -> str:
    cross = calibration.cross
    if cross is None:
        return "none"
    low, high = sigmoid(np.array(cross.doubt, np.float32))
    return f"{cross.depth} layers, for probabilities from {low:.2f} to {high:.2f} where none is higher"


def _ablation(
    arguments: argparse.Namespace,
    backbone: Backbone,
    trial: Trial,
    *,
    model: str,
    cache: Path,
    report: Reporter,
) -> dict[str, Any]:
    """Every layer and pooling on a part of the trial: the deep layers of 100,000 edits are not worth their hour."""
    views = tuple(View(layer, pooling) for layer in ABLATION_LAYERS for pooling in ("mean", "last"))
    taker = ViewCache(cache, backbone, views, model)

    def take(texts: Sequence[str], label: str) -> np.ndarray:
        return taker.get(texts, lambda done, total: report(f"all layers: {label}", done, total))

    part = arguments.ablate
    texts, facts_Q = paraphrases(trial, part)
    wanted = set(facts_Q.tolist())
    kept = [row for row, fact in enumerate(trial.facts) if int(fact) in wanted]
    edits = [trial.edits[row] for row in kept] + list(trial.crowd[:part])
    facts_E = np.concatenate([trial.facts[kept], np.arange(part) + 10**9])[: len(edits)]
    corpus = corpus_of(pair for pair in read_fitting_pairs(arguments.data, questions=part, own=4 * part))
    fitted = (take(corpus.texts, "fitting pairs"), corpus.question_N)
    edits_EVD, queries_QVD = take(edits, "edits"), take(texts, "paraphrases")
    near = [text for pool in trial.pools if "neighbour" in pool.name for text in pool.texts[: part // 2]]
    near_SVD = take(near, "neighbours")
    rows = ablate_views(views, edits_EVD, facts_E, queries_QVD, facts_Q, fitted=fitted)
    paper = {}
    for name, layer in (("first edited layer, 26", 26), ("last edited layer, 29", 29)):
        place = views.index(View(layer, "last"))
        paper[name] = paper_key(
            edits_EVD[:, place], facts_E, queries_QVD[:, place], facts_Q, near_SVD[:, place], alpha=ALPHA
        )
    return {"rows": rows, "paper": paper, "edits": len(edits), "paraphrases": len(texts)}


def show(figures: dict[str, Any]) -> None:
    """Print the table."""
    console = Console()
    drawn = Table(
        title=f"threshold {figures['setting']['threshold']:.4f}, {figures['setting']['edits beside']:,} edits beside",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    drawn.add_column("pool", min_width=len("question not in"))
    for column in ("asked", "fires", "wrong edit", "first right", "in 8", "read again", "target"):
        drawn.add_column(column, justify="right", max_width=7)
    for row in figures["table"]:
        sign = "≥" if row["wanted"] == "right" else "≤"
        drawn.add_row(
            row["pool"],
            str(row["queries"]),
            f"[{'green' if row['reached'] else 'red'}]{row['fires']:.4f}[/]",
            *(
                "" if row[key] is None else f"{row[key]:.4f}"
                for key in ("fires_wrong_edit", "nearest_key_right", "right_among_candidates", "read_again")
            ),
            f"{sign} {row['target']:g}",
        )
    console.print(drawn)


def main() -> None:
    """Parse, run, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="folder of public editing data; see docs/routing.md")
    source.add_argument("--store", type=Path, help="folder of a store")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for figures.json, report.html and the views"
    )
    parser.add_argument("--model", default="smollm2")
    parser.add_argument(
        "--fit",
        nargs="?",
        choices=("all", "own"),
        const="all",
        help="fit the calibration on the folder's fitting sets and the shipped questions, or on the latter only",
    )
    parser.add_argument(
        "--fit-dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="what the model runs in while it reads the fitting texts: bfloat16 is faster where the CPU has it",
    )
    parser.add_argument(
        "--cross-encoder",
        action="store_true",
        help="with --fit: train one too, to read what keys leave in doubt a second time; an hour or two on a CPU",
    )
    parser.add_argument("--calibration", type=Path, help="a calibration file to judge")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 3_000, 10_000, 30_000, 100_000])
    parser.add_argument("--edits", type=int, default=1500, help="CounterFact edits tested")
    parser.add_argument(
        "--unseen", type=int, default=1500, help="KAMEL questions asked that are not in the store"
    )
    parser.add_argument(
        "--ablate", type=int, default=500, help="queries of the view-by-view part; 0 leaves it out"
    )
    parser.add_argument("--json", action="store_true", help="print the figures instead of the table")
    arguments = parser.parse_args()
    if arguments.cross_encoder and not arguments.fit:
        parser.error("--cross-encoder comes with --fit")
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.store:
        figures = store_figures(arguments.store)
        (arguments.out / "figures.json").write_text(json.dumps(figures, indent=1))
        print(json.dumps(figures, indent=1))
        return
    with Bars(disable=arguments.json) as bars:
        figures = analyse(arguments, Reporter(bars))
    (arguments.out / "figures.json").write_text(json.dumps(figures, indent=1))
    (arguments.out / "report.html").write_text(render(figures), encoding="utf-8")
    if arguments.json:
        print(json.dumps(figures))
    else:
        show(figures)


if __name__ == "__main__":
    main()
