"""How other wordings vary what enters the edited layers: measured once, on prompts and answers that are no edit's own.

Shape legend: C cases (a reference prompt with a reference answer), G reference prompts, S positions (the end of the
prompt, then the answer's), R rows, H deviations of all cases and positions, I inputs of a map, W width of a stream.
"""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from sola_scale.backbone.loading import Backbone
from sola_scale.backbone.prefix import Prefix, PrefixCapture
from sola_scale.backbone.suffix import SuffixBatch
from sola_scale.lora.training.reference import REFERENCE_ANSWERS, REFERENCE_TEXTS

_CASES_A_PASS = 16
_ANSWERS_A_PROMPT = 2


class Variation:
    """Statistics of the same answers after many prompts; they are of the model alone, whatever is edited."""

    def __init__(self, backbone: Backbone, capture: PrefixCapture) -> None:
        prefixes = _run_references(backbone, capture)
        maps = range(len(prefixes[0].inputs_SI))
        self.maps = [_Stream([prefix.inputs_SI[which] for prefix in prefixes]) for which in maps]
        """What enters each edited map."""
        self._hidden = _Stream([prefix.hidden_SD for prefix in prefixes])

    def disturb(self, batch: SuffixBatch, draws: Sequence[int | None], size: float) -> SuffixBatch:
        """Move every row as if its context were worded otherwise.

        Args:
            batch: the rows of a step.
            draws: for each row a number that picks the reference prompt whose deviations it gets; None: it gets none.
            size: how much of the deviations, 1 as they are.
        """
        hidden_RSD = batch.hidden_RSD
        steps = hidden_RSD.shape[1]
        parts = [one.pick(draws, steps) * size for one in (self._hidden, *self.maps)]
        return dataclasses.replace(batch, hidden_RSD=hidden_RSD + parts[0], shift_RSI=tuple(parts[1:]))


class _Stream:
    """One stream of states: what it is at the ends of prompts, and how it deviates at each position of an answer."""

    def __init__(self, states_CSW: Sequence[Tensor]) -> None:
        wide = [states_SW.double() for states_SW in states_CSW]
        self.ends_GW = torch.stack([states_SW[0] for states_SW in wide[::_ANSWERS_A_PROMPT]])
        deviations = _within_answers(wide)
        self.inside_HW = torch.cat(deviations)
        by_prompt = [
            torch.cat(deviations[start : start + _ANSWERS_A_PROMPT])
            for start in range(0, len(deviations), _ANSWERS_A_PROMPT)
        ]
        ends_GW = self.ends_GW - self.ends_GW.mean(dim=0)
        self._deviations = [
            torch.cat([end_W.unsqueeze(0), later_SW]).to(states_CSW[0].dtype)
            for end_W, later_SW in zip(ends_GW, by_prompt, strict=True)
        ]
        self._tables: dict[int, Tensor] = {}

    def pick(self, draws: Sequence[int | None], steps: int) -> Tensor:
        """Return deviations ``[R, S, W]`` for so many positions, zero where nothing is drawn."""
        if steps not in self._tables:
            self._tables[steps] = self._table(steps)
        nothing = len(self._deviations)
        drawn = [nothing if draw is None else draw % nothing for draw in draws]
        table_GSW = self._tables[steps]
        return table_GSW.index_select(0, torch.tensor(drawn, device=table_GSW.device))

    def _table(self, steps: int) -> Tensor:
        """Every prompt's deviations at the positions of an answer, and zeros behind them: one look-up serves all rows."""
        rows = [self._stretched(deviations_SW, steps) for deviations_SW in self._deviations]
        return torch.stack([*rows, torch.zeros_like(rows[0])])

    @staticmethod
    def _stretched(deviations_SW: Tensor, steps: int) -> Tensor:
        # The end of the prompt is one of a kind; positions of the answer repeat when an edit has more of them.
        later = torch.arange(steps - 1) % (len(deviations_SW) - 1) + 1
        return deviations_SW[torch.cat([torch.zeros(1, dtype=torch.long), later])]


def _run_references(backbone: Backbone, capture: PrefixCapture) -> list[Prefix]:
    """Run every reference prompt with some of the answers, in passes of like length."""
    cases = [
        (
            _ids(backbone, text, begins=True),
            _ids(backbone, f" {REFERENCE_ANSWERS[_answer_of(number, turn)]}", begins=False),
        )
        for number, text in enumerate(REFERENCE_TEXTS)
        for turn in range(_ANSWERS_A_PROMPT)
    ]
    order = sorted(range(len(cases)), key=lambda case: sum(len(part) for part in cases[case]))
    prefixes: dict[int, Prefix] = {}
    for start in range(0, len(order), _CASES_A_PASS):
        places = order[start : start + _CASES_A_PASS]
        prefixes |= zip(places, capture.run([cases[place] for place in places]), strict=True)
    return [prefixes[case] for case in range(len(cases))]


def _answer_of(prompt: int, turn: int) -> int:
    return (prompt + turn) % len(REFERENCE_ANSWERS)


def _within_answers(states_CSW: Sequence[Tensor]) -> list[Tensor]:
    """Return, by case, how the answer's positions deviate from the mean over all prompts that it follows."""
    answers = [
        _answer_of(case // _ANSWERS_A_PROMPT, case % _ANSWERS_A_PROMPT) for case in range(len(states_CSW))
    ]
    means = {
        answer: torch.stack(
            [states_SW[1:] for states_SW, own in zip(states_CSW, answers, strict=True) if own == answer]
        ).mean(dim=0)
        for answer in set(answers)
    }
    return [states_SW[1:] - means[own] for states_SW, own in zip(states_CSW, answers, strict=True)]


def _ids(backbone: Backbone, text: str, *, begins: bool) -> list[int]:
    """Tokenize; only what begins a sequence gets the tokens that mark its beginning."""
    ids: list[int] = backbone.tokenizer(text, add_special_tokens=begins)["input_ids"]
    return ids
