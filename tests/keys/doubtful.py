"""Problems that keys are in doubt of, made without any keys."""

from typing import Any

import numpy as np

from sola_scale.keys.corpus import ASKED
from sola_scale.keys.doubts import Doubts
from sola_scale.keys.scorer import sigmoid
from tests.keys.crossed import spelled_of

TEXTS, PROBLEMS, CANDIDATES, RELATIONS, FIRST = 200, 1000, 4, 24, 20


def doubts_of(seed: int = 0, **arrays: Any) -> Doubts:
    """Problems with logits that know something of the labels; text i is spelled with one token of its own.

    Half of them have an edit in the store, and a third are near misses. ``arrays`` stand in for those that are drawn.
    """
    rng = np.random.default_rng(seed)
    shape = (PROBLEMS, CANDIDATES)
    query_Q = rng.integers(0, TEXTS, PROBLEMS)
    candidate_Qk = (query_Q[:, None] + rng.integers(1, TEXTS, shape)) % TEXTS
    verdict_Qk = rng.normal(size=shape).astype(np.float32) * 3
    spelled = spelled_of([[FIRST + text] for text in range(TEXTS)])
    drawn = {
        "query_Q": query_Q,
        "candidate_Qk": candidate_Qk,
        "label_Qk": rng.random(shape) < sigmoid(verdict_Qk),
        "known_Q": rng.random(PROBLEMS) < 0.5,
        "relation_Q": query_Q % RELATIONS,
        "role_Q": np.where(rng.random(PROBLEMS) < 1 / 3, 0, ASKED),
        "verdict_Qk": verdict_Qk,
        "weight_Qk": np.where(rng.random(shape) < 0.7, 2, 1).astype(np.float32),
        "token_NT": spelled.token,
        "name_NT": spelled.name,
        "there_NT": spelled.there,
    }
    return Doubts(**{**drawn, **arrays})
