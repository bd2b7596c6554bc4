"""The whole loop on real facts, step by step: ask the base model, edit, ask again, take one back and prove it."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from sola_scale.editor import Editor
from sola_scale.evaluate.geonames import Fact, little_known
from sola_scale.generation import Generation
from sola_scale.ingest import IngestReport, Outcome
from sola_scale.requests import EditRequest

MAX_NEW_TOKENS = 12
GIVEN = 2
"""Wordings given with an edit besides its prompt."""
_BATCH = 32

Tick = Callable[[int], None]
"""Told how many prompts more have been answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a demonstration edits, and what it leaves alone."""

    facts: tuple[Fact, ...]
    """To be edited into the model."""
    neighbours: tuple[Fact, ...]
    """For each of them a fact of the same relation about another subject, never edited."""

    @classmethod
    def draw(cls, count: int, *, seed: int = 0) -> "Material":
        """Draw ``count`` facts and as many neighbours; the relations take turns in both, so that they pair up."""
        relations = 3
        padded = -(-count // relations) * relations
        drawn = little_known(padded + count, seed=seed)
        return cls(facts=tuple(drawn[:count]), neighbours=tuple(drawn[padded : padded + count]))

    def requests(self) -> Iterator[EditRequest]:
        """The edits to make, each with two other wordings."""
        return (fact.request(paraphrases=GIVEN) for fact in self.facts)

    def given(self) -> list[str]:
        """Each fact asked in another wording that its edit was given."""
        return [fact.wordings[1] for fact in self.facts]

    def reworded(self) -> list[str]:
        """Each fact asked in a wording that its edit was not given."""
        return [fact.wordings[GIVEN + 1] for fact in self.facts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What one model says to one wording of every fact."""

    prompts: tuple[str, ...]
    """The wordings."""
    generations: tuple[Generation, ...]
    """The answers, in the same order."""

    def right(self, facts: Sequence[Fact]) -> int:
        """How many begin with the fact's answer."""
        return sum(says(one, fact) for one, fact in zip(self.generations, facts, strict=True))

    def same_as(self, other: "Answers") -> int:
        """How many are token for token those of ``other``."""
        pairs = zip(self.generations, other.generations, strict=True)
        return sum(mine.token_ids == theirs.token_ids for mine, theirs in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeProof:
    """Logits before an edit, with it, after its revocation and after its restoration, compared bit by bit."""

    edit_id: int
    """The edit."""
    prompt: str
    """What was asked."""
    edited_differs: bool
    """Whether the edit changed the logits at all: without that the rest would prove nothing."""
    revoked_is_base: bool
    """Whether, revoked, the logits are the base model's, every bit."""
    restored_is_edited: bool
    """Whether, restored, they are the edited ones again, every bit."""
    revoke_seconds: float
    """Time the revocation took, durable and live."""

    @property
    def exact(self) -> bool:
        """Whether all three hold."""
        return self.edited_differs and self.revoked_is_base and self.restored_is_edited


def says(answer: Generation, fact: Fact) -> bool:
    """Whether an answer begins with the fact's."""
    return answer.text.strip().casefold().startswith(fact.answer.casefold())


def ask(editor: Editor, prompts: Sequence[str], *, base: bool = False, tick: Tick | None = None) -> Answers:
    """Generate an answer to each prompt; with ``base``, the model's own."""
    generations: list[Generation] = []
    with editor.disabled() if base else nullcontext():
        for start in range(0, len(prompts), _BATCH):
            batch = prompts[start : start + _BATCH]
            generations += editor.generate(batch, max_new_tokens=MAX_NEW_TOKENS)
            if tick is not None:
                tick(len(batch))
    return Answers(prompts=tuple(prompts), generations=tuple(generations))


def silent(editor: Editor, prompts: Sequence[str]) -> int:
    """How many of these prompts fire no edit: for them the model is the base model, bit for bit."""
    return sum(route.edit_id is None for route in editor.route(prompts))


def edit(editor: Editor, material: Material, on_outcome: Callable[[Outcome], None]) -> IngestReport:
    """Make the edits."""
    return editor.ingest(material.requests(), on_outcome=on_outcome)


def prove_revoke(editor: Editor, edit_id: int) -> RevokeProof:
    """Take an edit back and bring it back again, and compare the logits of its prompt bit by bit."""
    prompt = editor.edit(edit_id).prompt
    with editor.disabled():
        base = editor.logits([prompt])
    edited = editor.logits([prompt])
    began = time.perf_counter()
    editor.revoke(edit_id)
    seconds = time.perf_counter() - began
    revoked = editor.logits([prompt])
    editor.restore(edit_id)
    return RevokeProof(
        edit_id=edit_id,
        prompt=prompt,
        edited_differs=not torch.equal(edited, base),
        revoked_is_base=torch.equal(revoked, base),
        restored_is_edited=torch.equal(editor.logits([prompt]), edited),
        revoke_seconds=seconds,
    )
