"""Fitting what judges candidates: matchers, the listwise scorer, and the threshold, each on what it has not seen.

Matchers are too good on the relations that they were fitted on. So the listwise scorer and the threshold are fitted on what
matchers say of relations that were kept from them, and the threshold on listwise scores of relations kept from both.

Shape legend: N texts, V views, D width, Q problems, k candidates, G given similarities, F features, E views read, P
directions.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sola_scale.keys.alignment import FEATURES
from sola_scale.keys.blocks import over_blocks
from sola_scale.keys.corpus import ASKED, Corpus
from sola_scale.keys.doubts import Doubts
from sola_scale.keys.evidence import listwise_features, match, rivalry, verdict
from sola_scale.keys.lexicon import NAMES_COVERED, Lexicon, Words
from sola_scale.keys.matching import Examples, Fit, Matched, Texts, fit_matchers
from sola_scale.keys.pairs import KINDS
from sola_scale.keys.perceptron import fit_perceptron
from sola_scale.keys.problems import Problems
from sola_scale.keys.scorer import Bools, Floats, Ints, Perceptron, sigmoid

MEMBERS = 3
"""Matchers from different starts: how well they tell relations apart that they never met varies from one to the next."""
_NEAR_MISS_WEIGHT = np.float32(2)
LEAST_THRESHOLD = float(1 / (1 + _NEAR_MISS_WEIGHT))
"""Probability that a near miss is given which is as likely as not: it weighs so much more."""
_ALL_COVERED = 0.999
_BLOCK = 512
_ALL = slice(None)


class Judgement(NamedTuple):
    """What is fitted on problems."""

    matched: Matched
    listwise: Perceptron
    threshold: float
    doubts: Doubts
    """What keys say of what they have not met."""


def fit_judgement(
    corpus: Corpus,
    problems: Problems,
    given_QkG: Floats,
    texts: Texts,
    views_NVD: NDArray[np.floating],
    *,
    false_fire: float,
    seed: int,
    folds: int,
) -> Judgement:
    """Fit on the posed problems of a corpus, of which ``given_of`` is known; equal input and seed give equal arrays."""
    near_Qk = _near_misses(corpus, problems, given_QkG)
    weight_Qk = np.where(near_Qk & ~problems.label_Qk, _NEAR_MISS_WEIGHT, np.float32(1))
    examples = Examples(problems.query_Q, problems.candidate_Qk, given_QkG, problems.label_Qk, weight_Qk)
    fold_Q = _folds(corpus, problems, folds, seed)
    logit_Qk = np.empty(problems.label_Qk.shape, np.float32)
    features_QkF = np.empty((*logit_Qk.shape, 2 * (2 + given_QkG.shape[-1] + FEATURES)), np.float32)
    # the longest fit begins first
    every = Fit(np.ones_like(problems.known_Q), members=MEMBERS, seed=seed + folds)
    without = [Fit(fold_Q != fold, members=1, seed=seed + fold) for fold in range(folds)]
    matched, *seen = fit_matchers(texts, examples, [every, *without])
    for fold in range(folds):
        held_Q = fold_Q == fold
        logit_Qk[held_Q], features_QkF[held_Q] = _evidence(seen[fold], examples.only(held_Q), views_NVD)
    listed = _Listed(features_QkF, problems.label_Qk, weight_Qk)
    doubts = Doubts(
        query_Q=problems.query_Q,
        candidate_Qk=problems.candidate_Qk,
        label_Qk=problems.label_Qk,
        known_Q=problems.known_Q,
        relation_Q=corpus.relation_N[problems.query_Q],
        role_Q=_roles(corpus, problems, near_Qk),
        verdict_Qk=_judged_out_of_fold(logit_Qk, listed, fold_Q, seed),
        weight_Qk=weight_Qk,
        token_NT=texts.spelled.token,
        name_NT=texts.spelled.name,
        there_NT=texts.spelled.there,
    )
    unknown_Q, best_Q = ~doubts.known_Q, sigmoid(doubts.verdict_Qk).max(axis=1)
    threshold = choose_threshold(best_Q[unknown_Q], doubts.role_Q[unknown_Q], false_fire)
    return Judgement(matched, listed.fit(seed), threshold, doubts)


def given_of(problems: Problems, words: Words, lexicon: Lexicon) -> Floats:
    """What is known of candidates beside encodings: retrieval cosine, then the likeness of the words, ``[Q, k, G]``."""

    def given(block: slice) -> Floats:
        query = words.at(problems.query_Q[block]).at(_ALL, None)
        likeness = lexicon.likeness(query, words.at(problems.candidate_Qk[block]))
        cosine_Qk1 = (1 - 0.5 * problems.distance_Qk[block] ** 2)[..., None]
        return np.concatenate([cosine_Qk1, likeness], axis=-1).astype(np.float32)

    return np.concatenate(over_blocks(given, len(problems), _BLOCK))


def choose_threshold(best_Q: Floats, role_Q: Ints, false_fire: float) -> float:
    """The smallest threshold that keeps the false fires of every pool of unanswerable queries to their rate.

    Near misses (same subject, same relation) may fire at ``false_fire``; everything else, which is what a router
    mostly meets, at a tenth of it. That is asked for as a fifth: of real questions about one in a thousand asks, in
    other words, what an edit in the store asks, and does not know it (of the 13 most probable strangers among 13,234,
    8 did), so that a tenth would be set by wrong labels.
    """
    needed = [LEAST_THRESHOLD]
    for role in np.unique(role_Q):
        rate = false_fire if role < ASKED - 1 else false_fire / 5
        needed.append(float(np.quantile(best_Q[role_Q == role], 1 - rate, method="higher")))
    return min(1.0, float(np.nextafter(np.float32(max(needed)), np.float32(2))))


class _Listed(NamedTuple):
    """What the listwise scorer is fitted on."""

    features_QkF: Floats
    label_Qk: Bools
    weight_Qk: Floats

    def fit(self, seed: int, keep_Q: Bools | slice = _ALL) -> Perceptron:
        width = self.features_QkF.shape[-1]
        return fit_perceptron(
            self.features_QkF[keep_Q].reshape(-1, width),
            self.label_Qk[keep_Q].reshape(-1),
            seed=seed,
            weights_N=self.weight_Qk[keep_Q].reshape(-1),
        )


def _near_misses(corpus: Corpus, problems: Problems, given_QkG: Floats) -> Bools:
    """Which candidates speak of the query's subject: by the pairs, or because the names of both cover each other."""
    subject_Qk = corpus.subject_N[problems.candidate_Qk]
    # pairs do not say of every two questions that they share a subject; the names they hold do
    named_Qk = (given_QkG[..., [1 + place for place in NAMES_COVERED]] > _ALL_COVERED).all(axis=-1)
    near_Qk: Bools = (subject_Qk == corpus.subject_N[problems.query_Q, None]) | named_Qk
    return near_Qk


def _roles(corpus: Corpus, problems: Problems, near_Qk: Bools) -> Ints:
    """The role of each query among its candidates: a question that meets another one of its subject is a near miss."""
    role_Q = corpus.role_N[problems.query_Q]
    return np.where((role_Q == ASKED) & near_Qk.any(axis=1), KINDS.index("same-subject"), role_Q)


def _folds(corpus: Corpus, problems: Problems, folds: int, seed: int) -> Ints:
    """The fold of each problem: that of its query's relation."""
    relation_Q = corpus.relation_N[problems.query_Q]
    relations, place_Q = np.unique(relation_Q, return_inverse=True)
    fold_Q: Ints = (np.random.default_rng(seed).permutation(len(relations)) % folds)[place_Q]
    return fold_Q


def _evidence(matched: Matched, examples: Examples, views_NVD: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Pair logits and listwise features of problems."""
    (matcher,), align = matched
    encoded_NZ = np.concatenate(
        over_blocks(
            lambda block: matcher.encoder(views_NVD[block].astype(np.float32)), len(views_NVD), _BLOCK
        )
    )
    digits_NT = views_NVD[:, align.view, : align.dim]

    def evidence_of(block: slice) -> tuple[Floats, Floats]:
        query_Q, candidate_Qk = examples.query_Q[block], examples.candidate_Qk[block]
        query_tokens = align.read(digits_NT[query_Q]).at(_ALL, None)
        aligned_QkF = align.likeness(query_tokens, align.read(digits_NT[candidate_Qk]))
        evidence = match(
            matched.matchers,
            np.concatenate([examples.given_QkG[block], aligned_QkF], axis=-1),
            encoded_NZ[query_Q, None],
            encoded_NZ[candidate_Qk],
        )
        groups_Qk = np.broadcast_to(np.arange(candidate_Qk.shape[1]), candidate_Qk.shape)
        rivals_Qkk = rivalry(evidence.among_Bkk, groups_Qk, np.ones(candidate_Qk.shape, np.bool_))
        return evidence.logit_Bk, listwise_features(evidence, rivals_Qkk)

    logits, features = zip(*over_blocks(evidence_of, len(examples.query_Q), _BLOCK), strict=True)
    return np.concatenate(logits), np.concatenate(features)


def _judged_out_of_fold(logit_Qk: Floats, listed: _Listed, fold_Q: Ints, seed: int) -> Floats:
    """The verdict on each problem's candidates, from scorers that have not seen its relation."""
    judged_Qk = np.empty_like(logit_Qk)
    for fold in np.unique(fold_Q):
        held_Q = fold_Q == fold
        scorer = listed.fit(seed, ~held_Q)
        judged_Qk[held_Q] = verdict(logit_Qk[held_Q], scorer(listed.features_QkF[held_Q]))
    return judged_Qk
