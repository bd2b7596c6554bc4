"""Evidence: what is known of the candidates of a query, and what is made of it.

A candidate is judged twice. The *pair* logit asks whether it and the query ask the same, whatever else lies in the store: it
keeps out other questions about the same subject. The *listwise* logit asks whether it leads its rivals: it keeps out the
questions of a crowd that share a template. An edit must satisfy both, so the verdict is their mean.

Shape legend: B queries, k candidates, G given similarities, Z encodings of all matchers, F features.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sola_scale.keys.matcher import Matcher, compare, cosines
from sola_scale.keys.scorer import Bools, Floats, Ints, sigmoid

PAIR_SHARE = np.float32(0.5)
"""How much of the verdict the pair logit makes up: see docs/design/routing.md."""
_LOGIT_UNIT = np.float32(0.25)


class Evidence(NamedTuple):
    """What is known of the candidates of each query."""

    given_BkG: Floats
    """Retrieval cosine, then the likeness of the words, and what the tokens leave uncovered."""
    logit_Bk: Floats
    """The matchers' mean logit that candidate and query ask the same question."""
    cosine_Bk: Floats
    """Mean cosine of their encodings."""
    among_Bkk: Floats
    """The same among the candidates."""


def match(
    matchers: Sequence[Matcher], given_BkG: Floats, query_B1Z: Floats, candidates_BkZ: Floats
) -> Evidence:
    """Ask every matcher, and take the mean."""
    edges = np.cumsum([0, *(one.encoder.dim for one in matchers)])
    parts = [
        (
            one,
            compare(query_B1Z[..., start:stop], candidates_BkZ[..., start:stop]),
            candidates_BkZ[..., start:stop],
        )
        for one, start, stop in zip(matchers, edges[:-1], edges[1:], strict=True)
    ]
    return Evidence(
        given_BkG=given_BkG,
        logit_Bk=_mean([one.logits(given_BkG, compared) for one, compared, _ in parts]),
        cosine_Bk=_mean([compared[..., 0] for _, compared, _ in parts]),
        among_Bkk=_mean([cosines(candidates[:, :, None], candidates[:, None]) for _, _, candidates in parts]),
    )


def rivalry(among_Bkk: Floats, groups_Bk: Ints, mask_Bk: Bools) -> Floats:
    """How much candidate j competes with candidate i, 0 to 1: real ones of another edit, the less alike the more.

    Two keys of one edit do not compete, and two edits that ask the same question hardly do.
    """
    other_Bkk: Bools = groups_Bk[:, :, None] != groups_Bk[:, None, :]
    rivalry_Bkk: Floats = np.where(
        other_Bkk & mask_Bk[:, None, :], np.clip(1 - among_Bkk, 0, 1), np.float32(0)
    )
    return rivalry_Bkk


def listwise_features(evidence: Evidence, rivalry_Bkk: Floats) -> Floats:
    """What the listwise scorer sees of each candidate: all that is known of it, and its lead over its best rival in each.

    Without any rival a candidate leads 0, the likeness of strangers.
    """
    rest = [evidence.cosine_Bk[..., None], evidence.given_BkG]
    known_BkF = np.concatenate([evidence.logit_Bk[..., None] * _LOGIT_UNIT, *rest], axis=-1)
    bounded_BkF = np.concatenate([sigmoid(evidence.logit_Bk)[..., None], *rest], axis=-1)
    rival_BkF = (rivalry_Bkk[..., None] * bounded_BkF[:, None]).max(axis=2)
    features: Floats = np.concatenate(
        [known_BkF, bounded_BkF - np.maximum(rival_BkF, np.float32(0))], axis=-1
    )
    return features


def verdict(pair_Bk: Floats, listwise_Bk: Floats) -> Floats:
    """The logit by which an edit fires."""
    logit_Bk: Floats = PAIR_SHARE * pair_Bk + (1 - PAIR_SHARE) * listwise_Bk
    return logit_Bk


def _mean(parts: list[Floats]) -> Floats:
    mean: Floats = np.mean(parts, axis=0, dtype=np.float32)
    return mean
