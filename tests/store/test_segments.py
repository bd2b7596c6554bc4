"""Segments and seals: what goes in comes out, and nothing else ever does."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from sola_scale.errors import CorruptRecordError
from sola_scale.store.segments import SPAN, entries, find, rebuilt
from sola_scale.store.values import OVERHEAD, pack_id, seal, unpack_id, unseal

payloads = st.binary(max_size=40)
changes = st.dictionaries(st.integers(3 * SPAN, 4 * SPAN - 1), st.none() | payloads, max_size=8)


@given(st.lists(changes, max_size=6))
def test_segment_is_a_dictionary(history: list[dict[int, bytes | None]]) -> None:
    """After any changes a segment holds what a dictionary would, and vanishes with its last payload."""
    segment: bytes | None = None
    wanted: dict[int, bytes] = {}
    for change in history:
        segment = rebuilt(3, segment, change)
        wanted = {e: p for e, p in {**wanted, **change}.items() if p is not None}
        held = {} if segment is None else {e: bytes(p) for e, p, _ in entries(3, segment)}
        assert held == wanted
        assert (segment is None) == (not wanted)
        for edit_id, payload in wanted.items():
            assert find("weights", segment, edit_id) == payload


@given(st.dictionaries(st.integers(0, SPAN - 1), st.binary(min_size=1, max_size=40), min_size=2), st.data())
def test_damage_in_a_segment_stays_with_its_edit(held: dict[int, bytes], data: st.DataObject) -> None:
    """A flipped bit in one payload is found, survives a rewrite as damage, and leaves the others readable."""
    segment = bytearray(rebuilt(0, None, held) or b"")
    victim = data.draw(st.sampled_from(sorted(held)))
    start = len(segment) - sum(len(p) for e, p in held.items() if e >= victim)
    segment[start] ^= 1 << data.draw(st.integers(0, 7))
    rewritten = rebuilt(0, bytes(segment), {SPAN - 1: b"new"}) if SPAN - 1 not in held else bytes(segment)
    assert rewritten is not None
    for edit_id, payload in held.items():
        if edit_id == victim:
            with pytest.raises(CorruptRecordError, match=f"edit {victim} is damaged"):
                find("weights", rewritten, edit_id)
        else:
            assert find("weights", rewritten, edit_id) == payload


def test_payload_of_another_edit_is_refused() -> None:
    """A checksum belongs to its edit: the same bytes under another id are damage."""
    segment = rebuilt(0, None, {5: b"payload"})
    moved = bytearray(segment or b"")
    entry = slice(8 + 5 * 16, 8 + 6 * 16)
    moved[8 + 6 * 16 : 8 + 7 * 16] = moved[entry]
    assert find("weights", bytes(moved), 5) == b"payload"
    with pytest.raises(CorruptRecordError, match="edit 6"):
        find("weights", bytes(moved), 6)


@pytest.mark.parametrize("segment", [None, b"", b"\x01", b"\x02" + bytes(2000), b"\x01\x07" + bytes(2000)])
def test_rubbish_is_no_segment(segment: bytes | None) -> None:
    """What is no segment of this format holds nothing."""
    with pytest.raises(CorruptRecordError, match="edit 9 is missing"):
        find("weights", segment, 9)


@given(payloads, payloads, st.data())
def test_seal_breaks_at_any_change(key: bytes, payload: bytes, data: st.DataObject) -> None:
    """A sealed value opens under its own key only, and with every bit as it was."""
    value = seal(key, payload)
    assert len(value) == len(payload) + OVERHEAD
    assert unseal("t", key, value) == payload
    broken = bytearray(value)
    broken[data.draw(st.integers(0, len(value) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    for other_key, other in ((key, bytes(broken)), (key + b"x", value), (key, value[:-1]), (key, b"")):
        with pytest.raises(CorruptRecordError):
            unseal("t", other_key, other)


@given(st.lists(st.integers(0, (1 << 64) - 1)))
def test_ids_sort_as_keys(ids: list[int]) -> None:
    """Keys in byte order are ids in order of number."""
    assert [unpack_id(key) for key in sorted(map(pack_id, ids))] == sorted(ids)
