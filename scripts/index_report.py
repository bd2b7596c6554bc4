"""What ``bench_index.py`` found: one row a contender and size, as a table, a plot and the exponent of cost."""

import dataclasses
import json
from pathlib import Path

import numpy as np


@dataclasses.dataclass(kw_only=True)
class Row:
    """One line of the table."""

    keys: int
    index: str
    tier: str = ""
    right_kept: float = 0.0
    own_key: float = 0.0
    overlap: float = 0.0
    cpu_ms_p50: float = 0.0
    cpu_ms_p95: float = 0.0
    cpu_ms_mean: float = 0.0
    wall_ms_p50: float = 0.0
    wall_ms_p95: float = 0.0
    cold_cpu_ms_p50: float = 0.0
    cold_cpu_ms_p95: float = 0.0
    batch_per_cpu_s: float = 0.0
    adds_per_cpu_s: float = 0.0
    beside_keys_mb: float = 0.0
    """Growth of the resident memory while building, less the bytes of the keys."""


def rows_of(paths: list[Path]) -> list[Row]:
    """The rows of earlier runs' JSON files."""
    return [Row(**row) for path in paths for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]


def exponent(rows: list[Row]) -> float | None:
    """Slope of log time against log size of our median."""
    points = sorted({row.keys: row.cpu_ms_p50 for row in rows if row.index == "sola_index"}.items())
    if len(points) < 2:
        return None
    keys, times = np.log([point[0] for point in points]), np.log([point[1] for point in points])
    return float(np.polyfit(keys, times, 1)[0])


def plot(rows: list[Row], path: Path) -> None:
    """Median time against size, one line a contender."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5.5))
    for name in dict.fromkeys(family(row.index) for row in rows):
        mine = sorted((row for row in rows if family(row.index) == name), key=lambda row: row.keys)
        ours = name == "sola_index"
        kept = ", ".join(f"{row.right_kept:.4f}".lstrip("0") for row in mine)
        axes.plot(
            [row.keys for row in mine],
            [row.cpu_ms_p50 for row in mine],
            marker="o",
            linewidth=3 if ours else 1.2,
            label=f"{name} ({kept})",
        )
    axes.set(xscale="log", yscale="log", xlabel="keys", ylabel="CPU ms a query (median), one core")
    axes.legend(fontsize=7, title="right edit kept, size by size", title_fontsize=7)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150, bbox_inches="tight")


def family(name: str) -> str:
    """A contender's name without its number of lists, which grows with the size."""
    words = name.split(",")
    return ",".join(word.rstrip("0123456789") if "IVF" in word else word for word in words)


def show(rows: list[Row]) -> None:
    """The table as Markdown."""
    print(
        "| keys | index | right kept | own key | overlap | CPU ms p50 / p95 | cold | batch 64, q/s | adds/s | MB beside keys |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.keys:,} | {row.index} {row.tier} | {row.right_kept:.4f} | {row.own_key:.4f} | {row.overlap:.3f} "
            f"| {row.cpu_ms_p50:.3f} / {row.cpu_ms_p95:.3f} | {row.cold_cpu_ms_p50:.3f} / {row.cold_cpu_ms_p95:.3f} "
            f"| {row.batch_per_cpu_s:,.0f} | {row.adds_per_cpu_s:,.0f} | {row.beside_keys_mb:,.0f} |"
        )
