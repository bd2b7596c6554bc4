"""Routing problems for fitting: a query, its nearest edits, and which of them ask its question.

Shape legend: N texts, Q queries, k candidates, R retrieval floats.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sola_scale.keys.blocks import over_blocks
from sola_scale.keys.corpus import ASKED, Corpus

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

CANDIDATES = 8
"""Nearest keys that are verified: by a route, and so wherever one is posed or foreseen."""
_BLOCK = 128


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problems:
    """What the router meets, with the answers."""

    query_Q: Ints
    """Which text asks."""
    candidate_Qk: Ints
    """Its nearest edits' prompts, nearest first."""
    distance_Qk: Floats
    """Their retrieval distances."""
    label_Qk: Bools
    """Which of them ask the query's question."""
    known_Q: Bools
    """Whether an edit of the query's question lay in the store: if not, whatever fires, fires falsely."""

    def __len__(self) -> int:
        return len(self.query_Q)


def pose(corpus: Corpus, retrieval_NR: Floats, *, k: int = CANDIDATES) -> Problems:
    """Pose every text as a query to a store of all prompts, with and without the edit that answers it.

    A paraphrase is asked once with its edit in the store (it must fire) and once without (nothing may). Prompts and
    negatives are asked without: they meet the crowd of edits that share their subject, their relation, their template.
    A third of the questions with phrasings to spare lie in the store twice, as real stores have it.

    Args:
        corpus: the texts.
        retrieval_NR: their retrieval vectors, in the same order.
        k: candidates a query.
    """
    edit_N = corpus.prompt_N | _twins(corpus)
    edits_E = np.flatnonzero(edit_N)
    paraphrases = np.flatnonzero((corpus.role_N == ASKED) & ~edit_N)
    answered = np.isin(corpus.question_N[paraphrases], corpus.question_N[edits_E])
    with_edit = _nearest(corpus, retrieval_NR, paraphrases[answered], edits_E, k=k, known=True)
    without = _nearest(corpus, retrieval_NR, np.arange(len(corpus)), edits_E, k=k, known=False)
    return _join(with_edit, without)


def _twins(corpus: Corpus) -> Bools:
    """The last paraphrase of every third question that has two or more."""
    twin_N = np.zeros(len(corpus), dtype=np.bool_)
    spare = np.flatnonzero((corpus.role_N == ASKED) & ~corpus.prompt_N)
    last_first = spare[::-1]
    questions, place, count = np.unique(corpus.question_N[last_first], return_index=True, return_counts=True)
    twin_N[last_first[place[(count > 1) & (np.arange(len(questions)) % 3 == 0)]]] = True
    return twin_N


def _nearest(
    corpus: Corpus, retrieval_NR: Floats, queries_Q: Ints, edits_E: Ints, *, k: int, known: bool
) -> Problems:
    k = min(k, len(edits_E))
    candidate_Qk = np.zeros((len(queries_Q), k), dtype=np.int64)
    cosine_Qk = np.zeros((len(queries_Q), k), dtype=np.float32)
    edit_keys_RE = retrieval_NR[edits_E].T

    def nearest(block: slice) -> None:
        cosine_BE = retrieval_NR[queries_Q[block]] @ edit_keys_RE
        same_BE = corpus.question_N[queries_Q[block], None] == corpus.question_N[edits_E]
        if not known:
            cosine_BE[same_BE] = -2
        top_Bk = np.argpartition(-cosine_BE, k - 1, axis=1)[:, :k]
        cosine_Bk = np.take_along_axis(cosine_BE, top_Bk, axis=1)
        order_Bk = np.argsort(-cosine_Bk, axis=1, kind="stable")
        candidate_Qk[block] = edits_E[np.take_along_axis(top_Bk, order_Bk, axis=1)]
        cosine_Qk[block] = np.take_along_axis(cosine_Bk, order_Bk, axis=1)

    over_blocks(nearest, len(queries_Q), _BLOCK)
    return Problems(
        query_Q=queries_Q,
        candidate_Qk=candidate_Qk,
        distance_Qk=np.sqrt(np.maximum(2 - 2 * cosine_Qk, 0)),
        # in a tiny corpus even removed edits are among the nearest; they count as strangers then
        label_Qk=(corpus.question_N[queries_Q, None] == corpus.question_N[candidate_Qk]) & known,
        known_Q=np.full(len(queries_Q), known),
    )


def _join(first: Problems, second: Problems) -> Problems:
    return Problems(
        query_Q=np.concatenate([first.query_Q, second.query_Q]),
        candidate_Qk=np.concatenate([first.candidate_Qk, second.candidate_Qk]),
        distance_Qk=np.concatenate([first.distance_Qk, second.distance_Qk]),
        label_Qk=np.concatenate([first.label_Qk, second.label_Qk]),
        known_Q=np.concatenate([first.known_Q, second.known_Q]),
    )
