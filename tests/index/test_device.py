"""The GPU tier without a GPU: its bookkeeping on a numpy device, and its refusal where there is none."""

import dataclasses

import numpy as np
import pytest

from sola_index import DeviceError, KeyIndex
from sola_index.backend import faiss
from sola_index.gpu import cuda_device
from sola_index.gpu.slots import Move, SlotMap
from sola_index.testing import NumpyDevice
from sola_index.testing.conformance import consecutive
from tests.index.helpers import DIM, SMALL, clustered_keys


def index_on(device, **changes):
    """An index of 600 keys on a device."""
    index = KeyIndex(DIM, "cosine", dataclasses.replace(SMALL, **changes), device)
    keys_ND = clustered_keys(600, 0)
    index.add(consecutive(600), keys_ND)
    return index, keys_ND


def test_without_a_gpu_the_device_is_refused_not_tried():
    """The GPU half of faiss ends the process without a device, so its absence is noticed first."""
    if faiss.get_num_gpus():
        pytest.skip("there is a GPU here")
    with pytest.raises(DeviceError, match="faiss sees 0 GPUs"):
        cuda_device()


def test_removal_fills_the_hole_with_the_last_slot():
    """Occupied slots stay the first ones; removing the last needs no move."""
    slots = SlotMap()
    slots.grow(8)
    assert slots.append(consecutive(4, 10)) == 0
    assert slots.remove(11) == Move(source=3, target=1)
    assert slots.ids_of(np.array([0, 1, 2])).tolist() == [10, 13, 12]
    assert slots.remove(12) is None
    assert slots.remove(13) is None
    assert len(slots) == 1


def test_slots_grow_by_a_factor():
    """Room is made rarely: in steps of at least half of what there is."""
    slots = SlotMap()
    assert slots.room_for(1) == 1024
    slots.grow(1024)
    slots.append(consecutive(1024))
    assert slots.room_for(0) is None
    assert slots.room_for(1) == 1536
    assert slots.room_for(5000) == 6024


def test_churn_keeps_device_and_truth_together():
    """After many adds and removals the device holds exactly the live keys."""
    device = NumpyDevice()
    index, keys_ND = index_on(device)
    rng = np.random.default_rng(0)
    for step in range(20):
        index.remove(rng.choice(index.ids, 30, replace=False))
        index.add(consecutive(20, 1000 + 20 * step), clustered_keys(20, step + 1))
    assert device.moves > 100
    held = device.keys_SD[: len(index)].astype(np.float32)
    truth = index.keys_of(index.ids).astype(np.float16).astype(np.float32)
    assert sorted(map(tuple, held.tolist())) == sorted(map(tuple, truth.tolist()))
    live = np.isin(consecutive(600), index.ids)
    assert (index.search(keys_ND[live], 1).ids[:, 0] == consecutive(600)[live]).all()


def test_beyond_its_size_the_device_holds_a_clone():
    """A full device goes on with an IVF clone; rows added since are found on the CPU."""
    device = NumpyDevice()
    index, _ = index_on(device, device_flat=500)
    assert device.clones == 1
    assert device.keys_SD.shape[0] == 0
    new_ND = clustered_keys(10, 3)
    index.add(consecutive(10, 2000), new_ND)
    assert device.clones == 1
    assert (index.search(new_ND, 1).ids[:, 0] == consecutive(10, 2000)).all()


def test_the_clone_is_made_again_when_it_has_aged():
    """Seven per cent of adds and removals together make a clone stale."""
    device = NumpyDevice()
    index, _ = index_on(device, device_flat=500)
    index.remove(consecutive(20))
    assert device.clones == 1
    index.add(consecutive(30, 2000), clustered_keys(30, 4))
    assert device.clones == 2


def test_when_all_that_the_clone_finds_is_dead_the_cpu_answers():
    """Dead answers of the clone are dropped, and the truth is asked when none is left."""
    device = NumpyDevice()
    index, keys_ND = index_on(device, device_flat=500, device_stale=0.9, device_spare=1, dead_share=0.9)
    near = index.search(keys_ND[0], 200, exact=True).ids[0]
    index.remove(near)
    found, truth = index.search(keys_ND[0], 5), index.search(keys_ND[0], 5, exact=True)
    assert device.clones == 1
    assert found.ids.tolist() == truth.ids.tolist()
