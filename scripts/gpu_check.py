"""Run the whole loop on a GPU and hold it against the CPU: routes, answers, exactness. For whoever has one.

    python scripts/gpu_check.py [--device cuda] [--model smollm2] [--facts 24] [--json]

Edits real facts on each device into a store of its own, opens the CPU's store on the device as well, and checks what
must hold there. Exit code 1 if anything does not.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sola_scale import Editor, EditRequest
from sola_scale.recipes import Recipe

TOKENS = 12
CLOSE = 2e-2
"""Largest difference of logits between devices that different summation orders explain in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that must hold."""

    claim: str
    """What."""
    holds: bool
    """Whether it does."""
    figure: str = ""
    """What was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is compared."""

    requests: Sequence[EditRequest]
    """The edits to make."""
    others: Sequence[str]
    """Prompts that fire nothing."""
    model: Callable[[str], Any]
    """Device → what `Editor.open` takes as its model."""
    recipe: Recipe | None = None
    """How the stores are made; the default one if None."""

    @property
    def prompts(self) -> list[str]:
        """All that is asked."""
        return [*(request.prompt for request in self.requests), *self.others]


def main() -> None:
    """Check, print, exit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--facts", type=int, default=24)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("no CUDA device is present; --device cpu shows what would be checked")
    with tempfile.TemporaryDirectory() as scratch:
        checks = check(real_subject(arguments.model, arguments.facts), arguments.device, Path(scratch))
    if arguments.json:
        print(json.dumps([asdict(one) for one in checks], indent=2))
    else:
        for one in checks:
            print(f"{'yes' if one.holds else 'NO ':4} {one.claim}  {one.figure}")
    sys.exit(0 if all(one.holds for one in checks) else 1)


def real_subject(model: str, facts: int) -> Subject:
    """Real facts, and numbers that no fact is about."""
    from sola_scale.backbone import load_backbone
    from sola_scale.evaluate.geonames import little_known

    return Subject(
        requests=[fact.request() for fact in little_known(facts)],
        others=[f"{number} plus {number + 3} is a number that" for number in range(8)],
        model=lambda device: load_backbone(model, device=device),
    )


def check(subject: Subject, device: str, scratch: Path) -> list[Check]:
    """Make a store on the CPU and one on the device, compare, and take an edit back on the device."""
    with Editor.open(scratch / "cpu", subject.model("cpu"), recipe=subject.recipe) as editor:
        made = _ingest("CPU", editor, subject)
        wanted = _observe(editor, subject)
    backbone = subject.model(device)
    with Editor.open(scratch / "cpu", backbone) as editor:
        found = _observe(editor, subject)
        compared = [*_compare(wanted, found), *_exactness(editor, subject)]
    with Editor.open(scratch / "device", backbone, recipe=subject.recipe) as editor:
        made += _ingest(device, editor, subject)
    return [*made, *compared]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Observed:
    """What one device did with all prompts."""

    routes: list[int | None]
    texts: list[str]
    logits: torch.Tensor


def _observe(editor: Editor, subject: Subject) -> _Observed:
    answers = editor.generate(subject.prompts, max_new_tokens=TOKENS)
    return _Observed(
        routes=[answer.route.edit_id if answer.route else None for answer in answers],
        texts=[answer.text for answer in answers],
        logits=editor.logits(subject.prompts).cpu(),
    )


def _ingest(where: str, editor: Editor, subject: Subject) -> list[Check]:
    began = time.perf_counter()
    report = editor.ingest(subject.requests)
    seconds = time.perf_counter() - began
    written = {record.prompt: record.target for record in editor.edits(status="live")}
    answers = editor.generate(list(written), max_new_tokens=TOKENS)
    right = sum(
        answer.text.strip() == target for answer, target in zip(answers, written.values(), strict=True)
    )
    settled = report.counts.get("failed", 0) == 0 and bool(written)
    rate = f"{report.counts} in {seconds:.1f} s"
    return [
        Check(claim=f"edits made on {where} are written or already true", holds=settled, figure=rate),
        Check(
            claim=f"they say their target on {where}",
            holds=right == len(written),
            figure=f"{right} of {len(written)}",
        ),
    ]


def _compare(wanted: _Observed, found: _Observed) -> list[Check]:
    difference = float((wanted.logits - found.logits).abs().max())
    same = sum(mine == theirs for mine, theirs in zip(wanted.texts, found.texts, strict=True))
    fired = [place for place, route in enumerate(wanted.routes) if route is not None]
    edited = all(wanted.texts[place] == found.texts[place] for place in fired)
    return [
        Check(
            claim="a store made on the CPU routes the same on the device", holds=wanted.routes == found.routes
        ),
        Check(
            claim="its edits give the same answers",
            holds=edited,
            figure=f"{same} of {len(wanted.texts)} of all",
        ),
        Check(claim="logits agree", holds=difference < CLOSE, figure=f"largest difference {difference:.2e}"),
    ]


def _exactness(editor: Editor, subject: Subject) -> list[Check]:
    prompts = subject.prompts
    with editor.disabled():
        base = editor.logits(prompts)
    routed = editor.logits(prompts)
    unfired = [place for place, route in enumerate(editor.route(prompts)) if route.edit_id is None]
    ids = [record.id for record in editor.edits(status="live")]
    editor.revoke(ids)
    revoked = editor.logits(prompts)
    editor.restore(ids)
    restored = editor.logits(prompts)
    return [
        Check(
            claim="rows that fire nothing are the base model's, bit for bit",
            holds=torch.equal(routed[unfired], base[unfired]),
        ),
        Check(claim="edited rows differ from the base model's", holds=not torch.equal(routed, base)),
        Check(claim="revoked, all rows are the base model's, bit for bit", holds=torch.equal(revoked, base)),
        Check(claim="restored, they are the edited ones, bit for bit", holds=torch.equal(restored, routed)),
    ]


if __name__ == "__main__":
    main()
