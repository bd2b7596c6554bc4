"""Routed generation: prompts in, answers out, with the route that each one took."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sola_scale.backbone import Backbone, Decision, Taps
from sola_scale.decision import RoutingDecision
from sola_scale.errors import RequestError
from sola_scale.routing import Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """The answer to one prompt."""

    text: str
    """What was generated, without the prompt and without special tokens."""
    token_ids: tuple[int, ...]
    """Its tokens, up to and including the end of turn."""
    route: Route | None
    """Why: the edit that fired, or none; None where nothing was routed."""


def checked_prompts(prompts: Sequence[str]) -> list[str]:
    """Return ``prompts`` as a list.

    Raises:
        RequestError: one of them is empty, or they are one lone text, which would be routed letter by letter.
    """
    if isinstance(prompts, str):
        raise RequestError("prompts must be a list of texts, not one text")
    texts = list(prompts)
    for place, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise RequestError(f"prompt {place} is empty")
    return texts


def generate(
    backbone: Backbone,
    taps: Taps,
    prompts: Sequence[str],
    *,
    batch_size: int,
    options: Mapping[str, Any],
    decisions: Callable[[slice], Decision] | None = None,
) -> list[Generation]:
    """Answer ``prompts``, ``batch_size`` a forward pass; ``options`` go to transformers' ``generate``.

    Args:
        backbone: the model.
        taps: its taps.
        prompts: texts to continue.
        batch_size: prompts a forward pass.
        options: for transformers' ``generate``.
        decisions: makes the decision of a slice of the prompts; by default they are routed.

    Raises:
        RequestError: a prompt leaves no room in the model's context, or several answers a prompt were asked for.
    """
    if options.get("num_return_sequences", 1) != 1:
        raise RequestError("one answer a prompt; for more, call editor.model.generate")
    batches = [slice(start, start + batch_size) for start in range(0, len(prompts), batch_size)]
    return [
        answer
        for batch in batches
        for answer in _batch(
            backbone,
            taps,
            prompts[batch],
            options,
            functools.partial(decisions, batch) if decisions else None,
        )
    ]


def _batch(
    backbone: Backbone,
    taps: Taps,
    prompts: Sequence[str],
    options: Mapping[str, Any],
    decide: Callable[[], Decision] | None,
) -> Iterator[Generation]:
    ids_BT, mask_BT = backbone.encode(prompts)
    length = ids_BT.shape[1]
    if length >= backbone.context_length:
        raise RequestError(f"a prompt has {length} tokens; the model's context is {backbone.context_length}")
    with taps.session(mask_BT, decide) as session, torch.inference_mode():
        sequences_BT = backbone.model.generate(
            input_ids=ids_BT, attention_mask=mask_BT, **{"do_sample": False, **options}
        )
    answers = sequences_BT[:, length:].tolist()
    routes = _routes(session.sequence.decision if session.sequence else None, len(prompts))
    for answer, route in zip(answers, routes, strict=True):
        tokens = _until_end(answer, backbone.end_of_turn)
        text = backbone.tokenizer.decode(tokens, skip_special_tokens=True)
        yield Generation(text=text, token_ids=tuple(tokens), route=route)


def _routes(decision: Any, prompts: int) -> list[Route | None]:
    """One route a prompt; beams repeat their prompt's row."""
    if not isinstance(decision, RoutingDecision):
        return [None] * prompts
    return list(decision.routes[:: len(decision.routes) // prompts])


def _until_end(tokens: list[int], end: int) -> list[int]:
    """Cut after the first end of turn: what follows is padding."""
    return tokens[: tokens.index(end) + 1] if end in tokens else tokens
