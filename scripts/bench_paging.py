"""Measure how weights reach the device: page-in, routed generation with cold and warm slots, PEFT beside it.

    python scripts/bench_paging.py --json [--edits 100000] [--routes 1000000] [--store FOLDER]

The store is filled with synthetic weights; 64 of its edits carry the real keys of real questions, so that they fire.
What is compared alternates within one run; figures are medians, ratios are taken pair by pair.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from peft import LoraConfig, get_peft_model

from sola_scale import Editor
from sola_scale.backbone import Backbone, capture_views, load_backbone
from sola_scale.decision import RoutingDecision
from sola_scale.evaluate.geonames import little_known
from sola_scale.keying import key_rows
from sola_scale.lora.adapter import Adapter
from sola_scale.lora.codec import encode
from sola_scale.lora.fired import FiredAdapters, FiredGroup
from sola_scale.lora.layout import AdapterLayout
from sola_scale.store import EditStatus, KeyRows, NewEdit

TOKENS, ROUNDS, BATCH = 12, 11, 32
PARTS = ("page-in", "generation", "revocation", "memory", "peft")


def main() -> None:
    """Run the measurement and print it."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.store or Path(scratch) / "store"
        figures = measure(folder, arguments.edits, arguments.routes, arguments.parts)
    print(
        json.dumps(figures, indent=2)
        if arguments.json
        else "\n".join(f"{k:44} {v}" for k, v in figures.items())
    )


def measure(folder: Path, edits: int, routes: int, wanted: Collection[str] = PARTS) -> dict[str, Any]:
    """Return the figures of the ``wanted`` parts for a store of ``edits`` edits."""
    backbone = load_backbone("smollm2")
    prompts = [fact.prompt for fact in little_known(2 * BATCH, seed=1)]
    figures: dict[str, Any] = {"edits": edits, "threads": torch.get_num_threads(), "torch": torch.__version__}
    with Editor.open(folder, backbone) as editor:
        if not any(editor.edits(limit=1)):
            fill(editor, prompts, edits)
    began = time.perf_counter()
    editor = Editor.open(folder, backbone)
    figures["open_ms"] = round(1000 * (time.perf_counter() - began), 1)
    with editor:
        fired = [route.edit_id for route in editor.route(prompts)]
        figures["fired"] = f"{sum(one is not None for one in fired)} of {len(prompts)}"
        resident = [one for one in fired if one is not None]
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "page-in": lambda: page_in(editor, edits),
            "generation": lambda: generation(editor, prompts, resident),
            "revocation": lambda: revocation(editor, edits),
            "memory": lambda: growth(editor, prompts, routes),
        }
        for name in (one for one in parts if one in wanted):
            figures |= _told(parts[name]())
    return figures | (apply_against_peft(backbone) if "peft" in wanted else {})


def _told(figures: dict[str, Any]) -> dict[str, Any]:
    """Say figures on stderr as soon as they are there: the whole run takes long."""
    sys.stderr.write("".join(f"{name}: {value}\n" for name, value in figures.items()))
    return figures


def fill(editor: Editor, prompts: Sequence[str], edits: int) -> None:
    """Write edits with random weights: the first ones keyed by ``prompts``, the others by random unit vectors."""
    parts = editor._parts  # noqa: SLF001 (a benchmark fills the store past the trainer)
    layout, rng = parts.layouts[0], np.random.default_rng(0)
    payloads = [_payload(layout, seed) for seed in range(256)]
    views = torch.cat(
        [capture_views(parts.backbone, [prompt], parts.calibration.views) for prompt in prompts]
    )
    real = [key_rows(parts.calibration, [view]) for view in views.float().cpu().numpy()]

    def edit(number: int) -> NewEdit:
        keys = real[number] if number < len(real) else _random_keys(rng, parts.calibration)
        prompt = prompts[number] if number < len(real) else f"Synthetic question {number}?"
        return NewEdit(
            prompt=prompt,
            target=f"answer {number}",
            keys=keys,
            weights=payloads[number % len(payloads)],
            calibration=parts.calibration_id,
        )

    for start in range(0, edits, 2000):
        parts.live.apply(parts.store.write([edit(n) for n in range(start, min(edits, start + 2000))]))


def page_in(editor: Editor, edits: int) -> dict[str, Any]:
    """Time single misses, warm file: read, check, dequantise, into a slot."""
    pager, rng = editor._parts.pager, np.random.default_rng(1)  # noqa: SLF001
    samples = []
    for edit_id in (rng.choice(edits, size=min(4000, edits), replace=False) + 1).tolist():
        pager.unmap([edit_id])
        began = time.thread_time()
        wall = _seconds(lambda edit_id=edit_id: pager.prefetch([edit_id]))
        samples.append((wall, time.thread_time() - began))
    (low, low_cpu), (high, high_cpu) = np.quantile(np.array(samples) * 1e6, [0.5, 0.99], axis=0)
    batches = [(rng.choice(edits, size=BATCH, replace=False) + 1).tolist() for _ in range(100)]
    together = []
    for ids in batches:
        pager.unmap(ids)
        together.append(_seconds(lambda ids=ids: pager.prefetch(ids)) / BATCH)
    return {
        "page_in_p50_us": round(float(low), 1),
        "page_in_p99_us": round(float(high), 1),
        "page_in_cpu_p50_us": round(float(low_cpu), 1),
        "page_in_cpu_p99_us": round(float(high_cpu), 1),
        "page_in_us_each_of_32": round(1e6 * statistics.median(together), 1),
    }


def generation(editor: Editor, prompts: Sequence[str], ids: Sequence[int]) -> dict[str, Any]:
    """Compare generation of 32 distinct edits: all missing, all resident, base model; and say what routing took of it."""
    batch = list(prompts[:BATCH])

    def run() -> None:
        editor.generate(batch, max_new_tokens=TOKENS, min_new_tokens=TOKENS)

    def cold() -> None:
        editor._parts.pager.unmap(ids)  # noqa: SLF001
        run()

    def base() -> None:
        with editor.disabled():
            run()

    times, cpu = _alternate({"base": base, "warm": run, "cold": cold}, ROUNDS)
    return {
        "base_tokens_per_second": round(BATCH * TOKENS / statistics.median(times["base"]), 1),
        "routed_over_base": _ratio(times["base"], times["warm"]),
        "routed_over_base_quartiles": _quartiles(times["base"], times["warm"]),
        "routed_over_base_cpu": _ratio(cpu["base"], cpu["warm"]),
        "missing_over_resident": _ratio(times["warm"], times["cold"]),
        "missing_over_resident_quartiles": _quartiles(times["warm"], times["cold"]),
    } | added_work(run, statistics.median(times["base"]))


def added_work(run: Callable[[], None], base_seconds: float) -> dict[str, Any]:
    """Milliseconds that deciding and applying take of one generation, by a clock around each of the two."""
    spent = {"decide": 0.0, "apply": 0.0}

    def clocked(kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                spent[kind] += time.perf_counter() - began

        return timed

    places = [
        (RoutingDecision, "observe", "decide"),
        (RoutingDecision, "conclude", "decide"),
        (FiredAdapters, "apply", "apply"),
    ]
    with contextlib.ExitStack() as stack:
        for owner, name, kind in places:
            stack.enter_context(mock.patch.object(owner, name, clocked(kind, getattr(owner, name))))
        for _ in range(ROUNDS):
            run()
    found = {f"{kind}_ms": round(1000 * seconds / ROUNDS, 2) for kind, seconds in spent.items()}
    share = sum(spent.values()) / ROUNDS / base_seconds
    return {**found, "decide_and_apply_share_of_base": round(share, 4)}


def revocation(editor: Editor, edits: int) -> dict[str, Any]:
    """Time a durable revoke beside a bare write and fsync of one page on the same disk."""
    page = editor.path / "fsync.probe"

    def fsync() -> None:
        with page.open("wb") as stream:
            stream.write(bytes(4096))
            stream.flush()
            os.fsync(stream.fileno())

    # A kept store may have been measured before: what is revoked already would cost nothing.
    live = editor.edits(status=(EditStatus.LIVE,), after_id=edits // 2, limit=60)
    ids = iter([record.id for record in live])
    times, _ = _alternate({"fsync": fsync, "revoke": lambda: editor.revoke(next(ids))}, rounds=40)
    page.unlink()
    return {f"{name}_ms": round(1000 * statistics.median(seconds), 3) for name, seconds in times.items()}


def growth(editor: Editor, prompts: Sequence[str], routes: int) -> dict[str, Any]:
    """Memory that ``routes`` routed prompts leave behind, after a warm-up of a tenth.

    A million forward passes would take days here. What is repeated is all that happens for a batch between the
    layers: following the store, retrieval, verification, decision, page-in and gather of what fires; on captured
    views of real prompts, shaken a little so that no two batches are alike, with every sixteenth batch all missing.
    """
    views = editor._parts.calibration.views  # noqa: SLF001
    captured_PVD = torch.cat([capture_views(editor.backbone, [prompt], views) for prompt in prompts]).float()
    generator = torch.Generator().manual_seed(2)
    fired = 0

    def route(count: int) -> None:
        nonlocal fired
        for number in range(count):
            chosen = torch.randint(len(prompts), (BATCH,), generator=generator)
            noise = 0.02 * torch.randn(BATCH, *captured_PVD.shape[1:], generator=generator)
            batch_BVD = captured_PVD[chosen] * (1 + noise)
            if number % 16 == 0:
                editor._parts.pager.unmap(editor._parts.pager.resident())  # noqa: SLF001
            decision = editor._begin_decision()  # noqa: SLF001
            for place, view in enumerate(views):
                decision.observe(view, batch_BVD[:, place])
            decision.conclude()
            fired += sum(one.edit_id is not None for one in decision.routes)

    route(routes // BATCH // 10)
    before, began, fired = _resident(), time.process_time(), 0
    route(routes // BATCH)
    used, after = time.process_time() - began, _resident()
    return {
        "routed_prompts": routes,
        "routed_prompts_fired": fired,
        "rss_growth_mib": round((after["all"] - before["all"]) / 2**20, 2),
        "rss_growth_without_file_pages_mib": round((after["anonymous"] - before["anonymous"]) / 2**20, 2),
        "route_cpu_ms_a_prompt": round(1000 * used / routes, 3),
    }


def _resident() -> dict[str, int]:
    """Bytes of memory that the process holds: all, and without pages of files, which the system takes and gives."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        name: 1024 * int(status[field].split()[0])
        for name, field in (("all", "VmRSS"), ("anonymous", "RssAnon"))
    }


def apply_against_peft(backbone: Backbone) -> dict[str, Any]:
    """What 32 distinct adapters add to one decode step: ours, and PEFT's mixed batch on the same maps."""
    layout = AdapterLayout.default(backbone)[0]
    maps = [backbone.model.get_submodule(module.path) for module in layout.modules]
    inputs = [torch.randn(BATCH, 1, module.d_in, device=backbone.device) for module in layout.modules]
    rows_F = torch.arange(BATCH, device=backbone.device)
    weights = torch.randn(BATCH, layout.size, device=backbone.device) * 1e-3
    fired = FiredAdapters([FiredGroup(layout, rows_F, weights)])

    class Step:
        prefill, past = False, 1

        @staticmethod
        def reach(_rows_F: torch.Tensor, _positions_F: torch.Tensor | None = None) -> None:
            return None

    def base() -> None:
        for linear, x in zip(maps, inputs, strict=True):
            linear(x)

    def ours() -> None:
        for module, linear, x in zip(layout.modules, maps, inputs, strict=True):
            fired.apply(module.path, Step, x, linear(x))  # type: ignore[arg-type]

    with torch.inference_mode():
        mixed = _peft_step(backbone, layout, inputs)
        times, _ = _alternate({"base": base, "ours": ours, "peft": mixed}, rounds=30)
    added = {
        name: statistics.median(times[name]) - statistics.median(times["base"]) for name in ("ours", "peft")
    }
    return {
        "apply_ours_us": round(1e6 * added["ours"], 1),
        "apply_peft_us": round(1e6 * added["peft"], 1),
        "peft_over_ours": round(added["peft"] / added["ours"], 1),
    }


def _peft_step(backbone: Backbone, layout: AdapterLayout, inputs: list[torch.Tensor]) -> Callable[[], None]:
    names = [f"edit{number}" for number in range(BATCH)]
    config = LoraConfig(r=layout.rank, target_modules=list(layout.paths), init_lora_weights=False)
    model = get_peft_model(backbone.model, config, adapter_name=names[0])
    for name in names[1:]:
        model.add_adapter(name, config)
    wrapped = [model.base_model.model.get_submodule(path) for path in layout.paths]

    def step() -> None:
        for linear, x in zip(wrapped, inputs, strict=True):
            linear(x, adapter_names=names)

    return step


def _payload(layout: AdapterLayout, seed: int) -> bytes:
    generator = torch.Generator().manual_seed(seed)
    return encode(
        Adapter(
            layout_index=0,
            a_rI=tuple(
                0.02 * torch.randn(layout.rank, one.d_in, generator=generator) for one in layout.modules
            ),
            b_rO=tuple(
                0.02 * torch.randn(layout.rank, one.d_out, generator=generator) for one in layout.modules
            ),
        )
    )


def _random_keys(rng: np.random.Generator, calibration: Any) -> KeyRows:
    retrieval = rng.standard_normal((1, calibration.retrieval_dim)).astype(np.float32)
    verification = 0.05 * rng.standard_normal((1, calibration.verification_dim))
    return KeyRows(
        retrieval=(retrieval / np.linalg.norm(retrieval)).astype(np.float16),
        verification=verification.astype(np.float16),
    )


def _alternate(
    runs: dict[str, Callable[[], Any]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Wall and CPU seconds of the runs, done in turn, the order turned round every time; one round to warm up first."""
    wall: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(rounds + 1):
        for name, run in list(runs.items())[:: 1 if round_ % 2 else -1]:
            began = time.process_time()
            seconds = _seconds(run)
            if round_:
                wall[name].append(seconds)
                cpu[name].append(time.process_time() - began)
    return wall, cpu


def _ratio(first: Sequence[float], second: Sequence[float]) -> float:
    """Median of the first over the second, pair by pair: speed of the second relative to the first."""
    return round(statistics.median(a / b for a, b in zip(first, second, strict=True)), 3)


def _quartiles(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """The middle half of those ratios: how far one of them can be trusted."""
    low, _, high = statistics.quantiles((a / b for a, b in zip(first, second, strict=True)), n=4)
    return [round(low, 3), round(high, 3)]


def _seconds(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--edits", type=int, default=100_000, help="edits in the store")
    parser.add_argument("--routes", type=int, default=1_000_000, help="routed prompts for the memory figure")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="measure only these")
    parser.add_argument("--store", type=Path, help="keep the store in this folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
