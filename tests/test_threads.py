"""Many threads on one editor: no wrong edit fires, nothing tears, nothing hangs."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from sola_scale import Editor, EditRequest, Generation
from tests.tiny import tiny_backbone, tiny_recipe

REQUESTS = [EditRequest(f"Question {n} about {chr(65 + n) * 3}?", f"answer {n}") for n in range(8)]
GENERATORS, STEADY, WRITTEN = 16, 4, 6


@pytest.fixture
def editor(tmp_path: Path):
    with Editor.open(
        tmp_path / "s", tiny_backbone(), recipe=tiny_recipe(0.02), slot_memory=1 << 14
    ) as opened:
        opened.ingest(REQUESTS[:WRITTEN])
        yield opened


class Run:
    """What the threads share: the right answers, and what went wrong."""

    def __init__(self, editor: Editor) -> None:
        self.editor = editor
        self.prompts = [request.prompt for request in REQUESTS]
        with editor.disabled():
            self.base = [answer.token_ids for answer in editor.generate(self.prompts, max_new_tokens=12)]
        self.ids = {record.prompt: record.id for record in editor.edits()}
        self.done = threading.Event()
        self.failures: list[str] = []

    def generate(self, seed: int) -> None:
        """Ask for random batches and judge every answer."""
        generator = torch.Generator().manual_seed(seed)
        for _ in range(6):
            chosen = torch.randperm(8, generator=generator)[:4].tolist()
            answers = self.editor.generate([self.prompts[place] for place in chosen], max_new_tokens=12)
            for place, answer in zip(chosen, answers, strict=True):
                self.judge(place, answer)

    def judge(self, place: int, answer: Generation) -> None:
        """Hold one answer against the single-threaded ones."""
        fired = answer.route.edit_id if answer.route else None
        if fired is None:
            if place < STEADY:
                self.failures.append(f"edit {place} did not fire")
            if answer.token_ids != self.base[place]:
                self.failures.append(f"prompt {place} fired nothing and said {answer.text!r}")
        elif self.editor.edit(fired).prompt != self.prompts[place]:
            self.failures.append(f"prompt {place} fired another's edit")
        elif answer.text.strip() != REQUESTS[place].target:
            self.failures.append(f"prompt {place} fired and said {answer.text!r}")

    def revoke(self) -> None:
        """Take two edits back and bring them again, as fast as it goes."""
        flipping = self.prompts[STEADY:WRITTEN]
        ids = [self.ids[prompt] for prompt in flipping]
        while not self.done.is_set():
            self.editor.revoke(ids)
            if any(route.edit_id is not None for route in self.editor.route(flipping)):
                self.failures.append("a revoked edit was routed to after revoke had returned")
            self.editor.restore(ids)


def test_generation_beside_revocation_and_ingestion_stays_right(editor: Editor) -> None:
    """While one thread revokes and restores and another ingests, every answer is one that the state it saw allows."""
    run = Run(editor)
    others = [
        threading.Thread(target=run.revoke),
        threading.Thread(target=editor.ingest, args=[REQUESTS[WRITTEN:]]),
    ]
    threads = [threading.Thread(target=run.generate, args=(seed,)) for seed in range(GENERATORS)]
    for thread in [*others, *threads]:
        thread.start()
    for thread in threads:
        thread.join(timeout=240)
    run.done.set()
    for thread in others:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in [*others, *threads]), "a thread hangs"
    assert run.failures == []
    said = editor.generate(run.prompts[WRITTEN:], max_new_tokens=12)
    assert [answer.text.strip() for answer in said] == ["answer 6", "answer 7"]


def test_threads_that_revoke_at_once_all_have_their_way(editor: Editor) -> None:
    """Six threads that take back and bring back an edit each, beside one that verifies, leave store and index agreed."""
    records = list(editor.edits())
    ids = [record.id for record in records]
    sound: list[bool] = []

    def flip(edit_id: int) -> list[list[int]]:
        return [change(edit_id) for _ in range(5) for change in (editor.revoke, editor.restore)]

    with ThreadPoolExecutor(len(ids) + 1) as threads:
        flips = [threads.submit(flip, edit_id) for edit_id in ids]
        verifying = threads.submit(lambda: sound.extend(editor.verify().ok for _ in range(5)))
        changed = [one.result() for one in flips]
        verifying.result()
    assert changed == [[[edit_id]] * 10 for edit_id in ids]
    assert sound == [True] * 5
    assert editor.verify().ok
    editor.revoke(ids[:3])
    routes = editor.route([record.prompt for record in records])
    assert [route.edit_id for route in routes] == [None] * 3 + ids[3:]
