"""Looking over a whole store: every checksum, and whether the tables agree with one another."""

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lmdb.verify import VerifyError
from lmdb.verify import verify as verify_pages

from sola_scale.errors import CorruptRecordError, UnknownEditError
from sola_scale.store.bookkeeping import (
    Counters,
    State,
    decoded,
    pack_owner,
    read_counters,
    read_layout,
    read_manifest,
    read_state,
)
from sola_scale.store.changes import LogEntry
from sola_scale.store.keyrows import row_bytes
from sola_scale.store.prompts import BLOCK, hash_of, read_block
from sola_scale.store.records import EditStatus, Event
from sola_scale.store.reports import Damage, VerifyReport
from sola_scale.store.segments import entries
from sola_scale.store.stored import read_stored
from sola_scale.store.tables import Table, retrieval, verification
from sola_scale.store.transaction import ReadTransaction
from sola_scale.store.values import pack_id, unpack_id


def check_structure(path: Path) -> list[Damage]:
    """Problems of LMDB's own pages; the file must be at rest."""
    try:
        problems = verify_pages(path, subdir=False)
    except VerifyError as error:
        problems = [str(error)]
    return [Damage(table="file", what=problem) for problem in problems]


class Audit:
    """One walk through one state of a store."""

    def __init__(self, txn: ReadTransaction, report: VerifyReport) -> None:
        self.txn = txn
        self.report = report
        self.states: dict[int, State] = {}
        self._prompts: dict[int, int] = {}
        self._counters = Counters()

    def run(self) -> None:
        """Walk through every table, adding to the report."""
        if self._meta():
            self._edits()
            self._contents()
            self._prompt_table()
            self._keys()
            self._chains()
            self._history()
            self._log()
        self._sealed(Table.SETTINGS)
        self._sealed(Table.BLOBS)

    def _damage(self, table: str, what: str, edit_id: int | None = None) -> None:
        damage = Damage(table=str(table), what=what, edit_id=edit_id)
        quarantined = edit_id in self.states and self.states[edit_id].status is EditStatus.QUARANTINED
        (self.report.known if quarantined else self.report.damages).append(damage)

    def _try(self, table: str, edit_id: int | None, check: Callable[[], object]) -> bool:
        """Run a check, and note what it raises; whether it passed."""
        self.report.values += 1
        try:
            check()
        except (CorruptRecordError, UnknownEditError) as error:
            self._damage(table, str(error), edit_id)
            return False
        return True

    def _sealed(self, table: Table) -> None:
        for key, _ in self.txn.scan(table):
            self._try(table, None, partial(self.txn.get, table, key))

    def _meta(self) -> bool:
        if not self._try("meta", None, lambda: (read_manifest(self.txn), read_layout(self.txn))):
            return False
        if not self._try("meta", None, lambda: read_counters(self.txn)):
            return False
        self._counters = read_counters(self.txn)
        return True

    def _edits(self) -> None:
        """States and records of all edits ever written."""
        for edit_id in range(1, self._counters.next_edit):
            self.report.edits += 1
            try:
                self.states[edit_id] = read_state(self.txn, edit_id)
            except (CorruptRecordError, UnknownEditError) as error:
                self._damage(Table.STATES, str(error), edit_id)
            if self._try(Table.RECORDS, edit_id, partial(read_stored, self.txn, edit_id)):
                self._prompts[edit_id] = hash_of(read_stored(self.txn, edit_id).prompt)

    def _contents(self) -> None:
        """Weights and keys: there for every edit but the purged ones, intact, and for nobody else."""
        layout, generation = read_layout(self.txn), self._counters.generation
        widths = row_bytes(layout) if layout else (0, 0)
        self._segments(Table.WEIGHTS, 0)
        self._segments(retrieval(generation), widths[0])
        self._segments(verification(generation), widths[1])

    def _segments(self, table: Table, row: int) -> None:
        read = self.txn.segment_reader(table)
        for edit_id, state in self.states.items():
            if state.status is not EditStatus.PURGED:
                self._try(table, edit_id, partial(_check_rows, read, row * state.rows, edit_id))
        for key, value in self.txn.scan(table):
            for edit_id, _, _ in entries(unpack_id(key), value):
                known = self.states.get(edit_id)
                if edit_id >= self._counters.next_edit or (known and known.status is EditStatus.PURGED):
                    self._damage(table, f"bytes of edit {edit_id}, which is purged or was never written")

    def _prompt_table(self) -> None:
        """The hash of each edit's prompt."""
        for number in range((self._counters.next_edit - 1) // BLOCK + 1):
            if not self._try(Table.PROMPTS, None, partial(read_block, self.txn, number)):
                continue
            for place, found in enumerate(read_block(self.txn, number).tolist()):
                edit_id = number * BLOCK + place
                if self._prompts.get(edit_id, 0 if edit_id not in self.states else found) != found:
                    self._damage(Table.PROMPTS, f"the hash of edit {edit_id} is not that of its prompt")

    def _keys(self) -> None:
        """Active keys: exactly those of the live edits."""
        wanted: dict[bytes, bytes] = {}
        for edit_id, state in self.states.items():
            live = state.status is EditStatus.LIVE
            if live != bool(state.first_key):
                self._damage(
                    Table.STATES, f"edit {edit_id} is {state.status} but its keys say otherwise", edit_id
                )
            for number in range(state.rows if live else 0):
                wanted[pack_id(state.first_key + number)] = pack_owner(edit_id, number)
        for key, _ in self.txn.scan(Table.KEYS):
            passed = self._try(Table.KEYS, None, partial(self.txn.get, Table.KEYS, key))
            if passed and bytes(self.txn.get(Table.KEYS, key) or b"") != wanted.get(key):
                self._damage(Table.KEYS, f"key {unpack_id(key)} is active and no live edit's")
            wanted.pop(key, None)
        for key in wanted:
            self._damage(Table.KEYS, f"key {unpack_id(key)} of a live edit is missing")

    def _chains(self) -> None:
        """Members of chains, and that the newest eligible one is live and no other."""
        chains = chains_of(self.states)
        wanted = {pack_id(root) + pack_id(e) for root, ids in chains.items() if len(ids) > 1 for e in ids}
        found = set()
        for key, _ in self.txn.scan(Table.CHAINS):
            self._try(Table.CHAINS, None, partial(self.txn.get, Table.CHAINS, key))
            found.add(key)
        for key in wanted ^ found:
            self._damage(
                Table.CHAINS, f"edit {unpack_id(key, 8)} is missing or stray in chain {unpack_id(key)}"
            )
        for root, ids in chains.items():
            eligible = [edit_id for edit_id in ids if self.states[edit_id].status.eligible]
            for edit_id in eligible:
                expected = EditStatus.LIVE if edit_id == eligible[-1] else EditStatus.SUPERSEDED
                if self.states[edit_id].status is not expected:
                    self._damage(
                        Table.STATES, f"edit {edit_id} of chain {root} should be {expected}", edit_id
                    )

    def _history(self) -> None:
        for key, _ in self.txn.scan(Table.HISTORY):
            self._try(Table.HISTORY, None, partial(self._decoded, Table.HISTORY, key, list[Event]))

    def _log(self) -> None:
        """Log entries: numbered without gaps from the low-water mark to the newest."""
        for seq in range(self._counters.low_water + 1, self._counters.last_seq + 1):
            self._try(Table.LOG, None, partial(self._decoded, Table.LOG, pack_id(seq), LogEntry))

    def _decoded(self, table: Table, key: bytes, kind: type[object]) -> object:
        return decoded(kind, self.txn.get(table, key) or b"", f"the value of table '{table}' at {key.hex()}")


def _check_rows(read: Callable[[int], memoryview], expected: int, edit_id: int) -> None:
    """Read a payload and compare its length, where one is expected."""
    payload = read(edit_id)
    if expected and len(payload) != expected:
        raise CorruptRecordError(
            f"the keys of edit {edit_id} take {len(payload)} bytes, not {expected}", edit_id
        )


def chains_of(states: dict[int, State]) -> dict[int, list[int]]:
    """Chain → its edits, oldest first."""
    chains: dict[int, list[int]] = defaultdict(list)
    for edit_id, state in sorted(states.items()):
        chains[state.chain].append(edit_id)
    return chains
