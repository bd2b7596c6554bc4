"""Measure the whole loop on the default model: ingest, generate routed and unrouted, route, revoke, reopen.

    python scripts/bench_loop.py --json [--edits 1000] [--store FOLDER]

Base and routed generation alternate within one run; figures are medians, ratios are taken pair by pair.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch

from sola_scale import Editor
from sola_scale.evaluate.geonames import little_known

TOKENS = 16
ROUNDS = 7


def main() -> None:
    """Run the measurement and print it."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.store or Path(scratch) / "store"
        figures = measure(folder, arguments.edits)
    if arguments.json:
        print(json.dumps(figures, indent=2))
    else:
        for name, value in figures.items():
            print(f"{name:40} {value}")


def measure(folder: Path, edits: int) -> dict[str, Any]:
    """Return every figure, for a store of ``edits`` real facts."""
    figures: dict[str, Any] = {
        "cpu": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    with Editor.open(folder) as editor:
        figures |= _ingestion(editor, edits)
        live = [(record.id, record.prompt) for record in editor.edits(status="live")]
        figures |= _generation(editor, [prompt for _, prompt in live])
        figures |= _routing(editor, [prompt for _, prompt in live])
        figures |= _revocation(editor, [edit_id for edit_id, _ in live])
        backbone = editor.backbone
        figures["bytes_per_edit_on_disk"] = round(editor.stats().store.bytes_per_edit)
    figures["open_ms"] = _milliseconds(lambda: Editor.open(folder, backbone).close(), rounds=5)
    figures["peak_rss_mib"] = round(_peak_rss() / 2**20)
    return figures


def _ingestion(editor: Editor, edits: int) -> dict[str, Any]:
    facts = little_known(edits)
    began, cpu = time.perf_counter(), time.process_time()
    report = editor.ingest(fact.request() for fact in facts)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {
        "edits": len(report.written),
        "outcomes": report.counts,
        "ingest_edits_per_second": round(len(report.written) / wall, 2) if report.written else None,
        "ingest_cpu_seconds_per_edit": round(cpu / max(len(report.outcomes), 1), 4),
    }


def _generation(editor: Editor, edited: Sequence[str]) -> dict[str, Any]:
    """Tokens a second, base and routed, alternating; the ratio pair by pair."""
    figures: dict[str, Any] = {}
    unedited = [f"{number} plus {number + 3} is a number that" for number in range(32)]
    cases = {"none_fired": unedited, "all_fired": list(edited[:32])}
    for name, prompts in cases.items():
        for batch in (1, 32):
            base, routed = _pair(editor, prompts[:batch])
            figures[f"base_tokens_per_second_{name}_batch_{batch}"] = round(
                batch * TOKENS / statistics.median(base), 1
            )
            figures[f"routed_over_base_{name}_batch_{batch}"] = round(
                statistics.median(b / r for b, r in zip(base, routed, strict=True)), 3
            )
        fired = sum(route.edit_id is not None for route in editor.route(prompts))
        figures[f"fired_{name}"] = f"{fired} of {len(prompts)}"
    return figures


def _pair(editor: Editor, prompts: Sequence[str]) -> tuple[list[float], list[float]]:
    def run() -> None:
        editor.generate(prompts, max_new_tokens=TOKENS, min_new_tokens=TOKENS)

    base: list[float] = []
    routed: list[float] = []
    for round_ in range(ROUNDS + 1):
        with editor.disabled():
            base_seconds = _seconds(run)
        routed_seconds = _seconds(run)
        if round_:  # the first one warms up
            base.append(base_seconds)
            routed.append(routed_seconds)
    return base, routed


def _routing(editor: Editor, prompts: Sequence[str]) -> dict[str, Any]:
    """Time the route alone, and its share of the prompt's forward pass."""
    before = editor.stats().routing
    forward = [_seconds(lambda prompt=prompt: editor.logits([prompt])) for prompt in prompts[:64]]
    after = editor.stats().routing
    route = (after.total_seconds - before.total_seconds) / max(after.count - before.count, 1)
    return {
        "route_ms": round(1000 * route, 3),
        "route_share_of_prompt_forward": round(route / statistics.mean(forward), 4),
    }


def _revocation(editor: Editor, ids: Sequence[int]) -> dict[str, Any]:
    revoke = [_seconds(lambda edit_id=edit_id: editor.revoke(edit_id)) for edit_id in ids[:20]]
    restore = [_seconds(lambda edit_id=edit_id: editor.restore(edit_id)) for edit_id in ids[:20]]
    return {
        "revoke_ms": round(1000 * statistics.median(revoke), 3),
        "restore_ms": round(1000 * statistics.median(restore), 3),
    }


def _seconds(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _milliseconds(run: Callable[[], Any], *, rounds: int) -> float:
    return round(1000 * statistics.median(_seconds(run) for _ in range(rounds)), 1)


def _peak_rss() -> int:
    import resource

    # Linux counts in KiB, macOS in bytes.
    unit = 1 if platform.system() == "Darwin" else 1024
    return max(
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        psutil.Process(os.getpid()).memory_info().rss,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--edits", type=int, default=1000, help="facts to ingest first")
    parser.add_argument(
        "--store", type=Path, help="keep the store in this folder; facts it has are not trained again"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
