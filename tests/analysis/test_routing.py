"""Contests and reports, on a tiny model."""

import re
from dataclasses import replace

import numpy as np
import pytest

from sola_scale.analysis.cache import ViewCache
from sola_scale.analysis.figures import at_own_thresholds, growth, sweep, table
from sola_scale.analysis.report import render
from sola_scale.analysis.routing import Contest
from sola_scale.analysis.trial import NOBODY, Pool, Trial
from sola_scale.keys import Pairs, default_layout, fit_calibration
from sola_scale.keys.cross_encoder import CrossReader
from tests.keys.crossed import cross_of
from tests.tiny import tiny_backbone

NAMES = ["Anna", "Boris", "Carla", "David", "Elena", "Farid", "Greta", "Hassan", "Irene", "Jakob"]


@pytest.fixture(scope="module")
def contest(tmp_path_factory):
    """Questions of ten first names and twelve last names; the model is random, so the layers carry letters only."""
    backbone = tiny_backbone()
    people = [
        f"{first} {last}"
        for first in NAMES
        for last in ("Moreau", "Novak", "Okonkwo", "Petrov", "Quin", "Rahm")
    ]
    pairs = [
        Pairs(
            prompt=f"Where was {name} born?",
            paraphrases=(f"{name} was born in", f"The birthplace of {name} is"),
        )
        for name in people[:50]
    ]
    layout = default_layout(len(backbone.architecture.layers), before_layer=2)
    calibration = fit_calibration(backbone, pairs, false_fire=0.05, layout=layout)
    people = people[40:]
    strangers = Pool(
        name="stranger",
        texts=tuple(f"Where was {name} Xerxes born?" for name in NAMES),
        facts=np.full(len(NAMES), NOBODY),
        wanted="silent",
        target=0.1,
    )
    right = Pool(
        name="zsRE paraphrase",
        texts=tuple(f"{name} was born in" for name in people),
        facts=np.arange(len(people)),
        wanted="right",
        target=0.5,
    )
    own = Pool(
        name="an edit's own prompt",
        texts=tuple(f"Where was {name} born?" for name in people),
        facts=np.arange(len(people)),
        wanted="right",
        target=1.0,
    )
    trial = Trial(
        edits=own.texts,
        facts=np.arange(len(people)),
        crowd=tuple(f"Who wrote book {number}?" for number in range(300)),
        crowd_facts=np.arange(300) + len(people),
        pools=(own, right, strangers),
    )
    folder = tmp_path_factory.mktemp("views")
    early = ViewCache(folder, backbone, (calibration.views[calibration.retrieval.view],), "m")
    late = ViewCache(folder, backbone, calibration.views, "m")
    return Contest(calibration, trial, early, late, lambda *_: None)


def test_every_edit_is_fired_by_its_own_prompt(contest):
    """An edit's own prompt finds it at distance 0 and fires it with probability one."""
    own = contest.run(300)[0]
    assert own.right_Q.all()
    np.testing.assert_array_equal(own.best_Q, 1)


def test_keys_alone_read_nothing_again(contest):
    """Without a cross-encoder no query is counted as read again."""
    assert not any(result.doubted_Q.any() for result in contest.run(300))


def test_what_is_read_again_is_counted(contest, monkeypatch):
    """With a cross-encoder exactly the queries are counted of which it changed what keys say, and never an edit's own prompt."""
    backbone, asked = tiny_backbone(), []
    crossed = replace(contest.calibration, cross=cross_of(backbone, doubt=(-9.0, 0.5))).on(backbone)
    settle = CrossReader.settle

    def noted(reader, logit_Bk, *further, **others):
        settled_Bk = settle(reader, logit_Bk, *further, **others)
        asked.extend((settled_Bk != logit_Bk).any(axis=1))
        return settled_Bk

    monkeypatch.setattr(CrossReader, "settle", noted)
    monkeypatch.setattr(contest, "calibration", crossed)
    results = contest.run(300)
    assert np.concatenate([result.doubted_Q for result in results]).tolist() == asked
    assert not results[0].doubted_Q.any()
    assert any(asked)


def test_a_larger_store_has_nearer_neighbours(contest):
    """Adding edits can only bring the nearest other edit nearer."""
    small, large = contest.nearest_edits(0), contest.nearest_edits(300)
    assert large.min() >= 0
    assert small.mean() >= large[: len(small)].mean() - 0.5


def test_the_report_is_one_page_with_every_pool(contest):
    """The page names all pools, holds its plots inline, and loads nothing from elsewhere."""
    runs = [contest.run(size) for size in (30, 100, 300)]
    figures = {
        "setting": {"threshold": contest.calibration.threshold, "model": "tiny <model>"},
        "table": table(runs[-1], contest.calibration.threshold),
        "own_thresholds": at_own_thresholds(runs[-1]),
        "sweep": sweep(runs[-1]),
        "growth": growth([30, 100, 300], runs, [contest.nearest_edits(size) for size in (30, 100, 300)], 0.5),
    }
    pytest.importorskip("matplotlib")
    page = render(figures)
    assert page.count("<svg") == 7
    assert "tiny &lt;model&gt;" in page
    assert not re.search(r"<(script|link|img)\b|(src|href)=\"http", page)
    for row in figures["table"]:
        assert row["pool"].replace("'", "&#x27;") in page
