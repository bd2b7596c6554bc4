"""Many threads on one editor: no wrong edit fires, nothing tears, nothing hangs."""

import threading
from pathlib import Path

import pytest
import torch

from sola_scale import Editor, EditRequest
from tests.tiny import tiny_backbone, tiny_recipe

REQUESTS = [EditRequest(f"Question {n} about {chr(65 + n) * 3}?", f"answer {n}") for n in range(8)]
GENERATORS = 16


@pytest.fixture
def editor(tmp_path: Path):
    with Editor.open(
        tmp_path / "s", tiny_backbone(), recipe=tiny_recipe(0.02), slot_memory=1 << 14
    ) as opened:
        opened.ingest(REQUESTS[:6])
        yield opened


def test_generation_beside_revocation_and_ingestion_stays_right(editor: Editor) -> None:
    """While one thread revokes and restores and another ingests, every answer is one that the state it saw allows."""
    prompts = [request.prompt for request in REQUESTS]
    with editor.disabled():
        base = [answer.token_ids for answer in editor.generate(prompts, max_new_tokens=12)]
    edited: dict[int, tuple[int, ...]] = {}
    for place, answer in enumerate(editor.generate(prompts, max_new_tokens=12)):
        if answer.route is not None and answer.route.edit_id is not None:
            edited[place] = answer.token_ids
    assert set(edited) == set(range(6))
    flipping = {record.prompt: record.id for record in editor.edits()}
    steady = {place for place in range(4)}
    failures: list[str] = []
    done = threading.Event()

    def generate(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(6):
            chosen = torch.randperm(8, generator=generator)[:4].tolist()
            answers = editor.generate([prompts[place] for place in chosen], max_new_tokens=12)
            for place, answer in zip(chosen, answers, strict=True):
                assert answer.route is not None
                fired = answer.route.edit_id is not None
                if place in steady and not fired:
                    failures.append(f"edit {place} did not fire")
                if fired and editor.edit(answer.route.edit_id or 0).prompt != prompts[place]:
                    failures.append(f"prompt {place} fired another's edit")
                if fired and place in edited and answer.text.strip() != REQUESTS[place].target:
                    failures.append(f"prompt {place} fired and said {answer.text!r}")
                if not fired and answer.token_ids != base[place]:
                    failures.append(f"prompt {place} fired nothing and said {answer.text!r}")

    def revoke() -> None:
        ids = [flipping[prompts[4]], flipping[prompts[5]]]
        while not done.is_set():
            editor.revoke(ids)
            if any(route.edit_id is not None for route in editor.route(prompts[4:6])):
                failures.append("a revoked edit was routed to after revoke had returned")
            editor.restore(ids)

    def ingest() -> None:
        editor.ingest(REQUESTS[6:])

    others = [threading.Thread(target=revoke), threading.Thread(target=ingest)]
    threads = [threading.Thread(target=generate, args=(seed,)) for seed in range(GENERATORS)]
    for thread in [*others, *threads]:
        thread.start()
    for thread in threads:
        thread.join(timeout=240)
        assert not thread.is_alive(), "a thread hangs"
    done.set()
    for thread in others:
        thread.join(timeout=60)
        assert not thread.is_alive(), "a thread hangs"
    assert failures == []
    assert [answer.text.strip() for answer in editor.generate(prompts[6:], max_new_tokens=12)] == [
        "answer 6",
        "answer 7",
    ]
