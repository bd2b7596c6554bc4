"""Plots of the collision analysis, each as an SVG text; matplotlib is asked for only here."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sola_scale.errors import DependencyError

Figures = dict[str, Any]
Axes = Any

_COLOURS = ("#0b6e99", "#d9730d", "#0f7b6c", "#ad1a72", "#6940a5", "#64473a", "#9b9a97")


def svg(draw: Callable[[Axes], None], *, width: float = 6.4, height: float = 3.8) -> str:
    """Draw one plot with the house style.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot as plt
        from matplotlib import rc_context
    except ImportError as error:
        raise DependencyError("plots need matplotlib; run: pip install 'sola-scale[plot]'") from error
    style = {
        "svg.hashsalt": "sola-scale",
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "axes.prop_cycle": plt.cycler(color=_COLOURS),
    }
    with rc_context(style):
        figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
        draw(axes)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
        plt.close(figure)
    text = stream.getvalue()
    return text[text.index("<svg") :]


def distances(rows: Sequence[Figures]) -> Callable[[Axes], None]:
    """Nearest other edit against store size: median and spread, with the paraphrases' distance beside it."""

    def draw(axes: Axes) -> None:
        sizes = [row["crowd"] for row in rows]
        for key, label in (
            ("nearest_other_edit", "nearest other edit"),
            ("paraphrase_to_edit", "paraphrase to its edit"),
        ):
            if not all(row[key] for row in rows):
                continue
            axes.plot(sizes, [row[key]["0.5"] for row in rows], marker="o", label=f"{label}: median")
            axes.fill_between(
                sizes, [row[key]["0.05"] for row in rows], [row[key]["0.95"] for row in rows], alpha=0.15
            )
        axes.set(xscale="log", xlabel="edits beside the tested ones", ylabel="distance", ylim=(0, None))
        axes.legend()

    return draw


def rates(rows: Sequence[Figures], key: str, names: Sequence[str], label: str) -> Callable[[Axes], None]:
    """One rate of some pools against store size."""

    def draw(axes: Axes) -> None:
        sizes = [row["crowd"] for row in rows]
        for name in names:
            axes.plot(sizes, [row["pools"][name][key] for row in rows], marker="o", label=name)
        axes.set(xscale="log", xlabel="edits beside the tested ones", ylabel=label)
        axes.legend()

    return draw


def roc(
    sweep: Figures, right: Sequence[str], silent: Sequence[str], threshold: float
) -> Callable[[Axes], None]:
    """Right fires against the worst pool's false fires; the fitted threshold is the marked point."""

    def draw(axes: Axes) -> None:
        false = np.max([sweep["fires"][name] for name in silent], axis=0)
        place = int(np.argmin(np.abs(np.array(sweep["threshold"]) - threshold)))
        for name in right:
            fires = sweep["fires"][name]
            (line,) = axes.plot(np.maximum(false, 1e-4), fires, label=name)
            axes.plot(max(false[place], 1e-4), fires[place], "o", color=line.get_color())
        axes.set(
            xscale="log", xlabel="false fires, worst pool", ylabel="fires the right edit", xlim=(1e-4, 1)
        )
        axes.legend()

    return draw


def det(sweep: Figures, right: Sequence[str], silent: Sequence[str]) -> Callable[[Axes], None]:
    """Detection error trade-off: misses against false fires, both on a logarithmic scale, one line a pair of pools."""

    def draw(axes: Axes) -> None:
        for name in right:
            for other in silent:
                misses = 1 - np.array(sweep["fires"][name])
                axes.plot(
                    np.maximum(sweep["fires"][other], 1e-4),
                    np.maximum(misses, 1e-3),
                    label=f"{name} / {other}",
                    lw=1,
                )
        axes.set(xscale="log", yscale="log", xlabel="false fires", ylabel="misses")
        axes.legend(fontsize=6)

    return draw


def thresholds(sweep: Figures, threshold: float) -> Callable[[Axes], None]:
    """What fires in every pool as the threshold moves."""

    def draw(axes: Axes) -> None:
        levels = np.array(sweep["threshold"])
        logits = np.log(levels / (1 - levels))
        for name, fires in sweep["fires"].items():
            axes.plot(logits, fires, label=name)
        axes.axvline(np.log(threshold / max(1 - threshold, 1e-6)), color="black", lw=0.8, ls="--")
        axes.set(xlabel="threshold on the log odds (dashed: the fitted one)", ylabel="fires")
        axes.legend(fontsize=6)

    return draw


def layers(rows: Sequence[Figures], keys: Sequence[tuple[str, str]], pooling: str) -> Callable[[Axes], None]:
    """Share of paraphrases whose nearest key is right, by layer, for one pooling."""

    def draw(axes: Axes) -> None:
        mine = [row for row in rows if row["pooling"] == pooling]
        for key, label in keys:
            axes.plot(
                [row["layer"] for row in mine], [row[key]["first"] for row in mine], marker="o", label=label
            )
        axes.set(
            xlabel="layer whose input is pooled",
            ylabel="nearest key is right",
            ylim=(0, 1),
            title=f"{pooling} pooling",
        )
        axes.legend()

    return draw
