"""What a store takes: edits by status, pages by table, payload by kind."""

from collections import Counter
from pathlib import Path

from sola_scale.store.bookkeeping import read_counters
from sola_scale.store.header import PAGE
from sola_scale.store.listing import scan_states
from sola_scale.store.records import EditStatus
from sola_scale.store.reports import StoreStats, TableStats
from sola_scale.store.segments import entries
from sola_scale.store.tables import Table, retrieval, verification
from sola_scale.store.transaction import ReadTransaction
from sola_scale.store.values import OVERHEAD, unpack_id


def measure(txn: ReadTransaction, path: Path) -> StoreStats:
    """Counts by status and bytes by table; reads every segment's table of contents, but no contents."""
    counters = read_counters(txn)
    statuses = Counter(dict.fromkeys(EditStatus, 0))
    after = 0
    while page := scan_states(txn, after, 4096):
        statuses.update(state.status for _, state in page)
        after = page[-1][0]
    tables = {table.value: _table_stats(txn, table) for table in Table}
    return StoreStats(
        statuses=dict(statuses),
        active_keys=tables[Table.KEYS].entries,
        last_seq=counters.last_seq,
        low_water=counters.low_water,
        payload=_payload(txn, counters.generation),
        tables=tables,
        used_bytes=sum(table.bytes for table in tables.values()),
        file_bytes=path.stat().st_size,
    )


def _table_stats(txn: ReadTransaction, table: Table) -> TableStats:
    stat = txn.stat(table)
    pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
    return TableStats(entries=stat["entries"], bytes=pages * PAGE)


def _payload(txn: ReadTransaction, generation: int) -> dict[str, int]:
    """Bytes of what was given, by kind."""
    kinds = {
        "weights": Table.WEIGHTS,
        "retrieval": retrieval(generation),
        "verification": verification(generation),
    }
    sizes = {kind: _segment_bytes(txn, table) for kind, table in kinds.items()}
    sizes["records"] = sum(len(value) - OVERHEAD for _, value in txn.scan(Table.RECORDS))
    return sizes


def _segment_bytes(txn: ReadTransaction, table: Table) -> int:
    return sum(len(body) for key, value in txn.scan(table) for _, body, _ in entries(unpack_id(key), value))
