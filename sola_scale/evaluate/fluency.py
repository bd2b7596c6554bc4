"""Fluency: whether a model that was edited still writes, measured as n-gram entropy against the base model."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sola_scale.editor import Editor
from sola_scale.lora.training.reference import REFERENCE_TEXTS

_TOKENS = 48
# As in ROME (Meng et al., 2022), after GEM (Zhang et al., 2018): bigrams count once, trigrams twice.
_WEIGHTS = {2: 2 / 3, 3: 4 / 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fluency:
    """Mean n-gram entropies, in bits, of texts that two models wrote to the same prompts."""

    texts: int
    """How many texts each wrote."""
    edited: float
    """Of the edited model's."""
    base: float
    """Of the base model's."""
    same: float
    """Share of texts that are the same, token by token."""


def ngram_entropy(tokens: Sequence[int]) -> float:
    """Return the weighted mean of the entropies of a text's bigrams and trigrams, in bits; 0 where it repeats one token."""
    weighted = [weight * _entropy(tokens, length) for length, weight in _WEIGHTS.items()]
    return statistics.fmean(weighted)


def after_the_answer(
    editor: Editor, prompts: Sequence[str], answers: Sequence[str], edits: Sequence[int]
) -> Fluency:
    """Compare what follows the answer where the model may not stop: with the edit at work, and the base model's own.

    Args:
        editor: holds the edits.
        prompts: the edits' prompts.
        answers: what the edits say to them, white space in front included.
        edits: their ids.
    """
    spoken = [len(editor.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in answers]
    silenced = _silenced(editor)
    longest = _TOKENS + max(spoken, default=0)
    edited = editor.generate(prompts, edits=edits, max_new_tokens=longest, **silenced)
    given = [prompt + text for prompt, text in zip(prompts, answers, strict=True)]
    base = editor.generate(given, edits=[None] * len(given), max_new_tokens=_TOKENS, **silenced)
    pairs = zip(edited, base, spoken, strict=True)
    return _compare([(one.token_ids[skip:][:_TOKENS], other.token_ids) for one, other, skip in pairs])


def of_unrelated_prompts(editor: Editor) -> Fluency:
    """Compare what the routed model and the base model write to ordinary prompts that no edit is about."""
    prompts, silenced = list(REFERENCE_TEXTS), _silenced(editor)
    edited = editor.generate(prompts, max_new_tokens=_TOKENS, **silenced)
    base = editor.generate(prompts, edits=[None] * len(prompts), max_new_tokens=_TOKENS, **silenced)
    return _compare([(one.token_ids, other.token_ids) for one, other in zip(edited, base, strict=True)])


def _silenced(editor: Editor) -> dict[str, Any]:
    """Special tokens, the ends among them, cannot be said: every text grows to the same length."""
    return {"suppress_tokens": sorted({editor.backbone.end_of_turn, *editor.tokenizer.all_special_ids})}


def _compare(pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Fluency:
    if not pairs:
        return Fluency(texts=0, edited=0.0, base=0.0, same=0.0)
    return Fluency(
        texts=len(pairs),
        edited=statistics.fmean(ngram_entropy(one) for one, _ in pairs),
        base=statistics.fmean(ngram_entropy(other) for _, other in pairs),
        same=statistics.fmean(tuple(one) == tuple(other) for one, other in pairs),
    )


def _entropy(tokens: Sequence[int], length: int) -> float:
    counts = Counter(tuple(tokens[start : start + length]) for start in range(len(tokens) - length + 1))
    total = counts.total()
    return -sum(count / total * math.log2(count / total) for count in counts.values()) if total else 0.0
