"""sola stats: what a store holds and takes, and what the processes that serve it report. It needs no model."""

from typing import TYPE_CHECKING

from sola_scale.cli import options
from sola_scale.cli.opening import open_store
from sola_scale.cli.output import emit, facts, say, size, table, when

if TYPE_CHECKING:
    from sola_scale.histogram import Latencies
    from sola_scale.serving import ServingReport
    from sola_scale.store import StoreStats

_MANY = (100_000, 1_000_000)


def stats(store: options.StorePath, json: options.Json = False) -> None:
    """Count edits and bytes, and show how the processes that serve the store route and page.

    A process that generates reports every ten seconds and when it ends.
    """
    from sola_scale import serving

    with open_store(store) as opened:
        counted, manifest = opened.stats(), opened.manifest
    told = serving.reports(store)
    if not json:
        _print_store(counted, manifest.model_name)
        for report in told:
            _print_report(report)
        say("")
        return
    emit(
        {
            "model": manifest.model_name,
            "fingerprint": manifest.fingerprint,
            "edits": counted.edits,
            "bytes_per_edit": counted.bytes_per_edit,
            "projected_bytes": {str(many): counted.projected_bytes(many) for many in _MANY},
            "store": counted,
            "serving": [{"running": one.running, **_fields(one)} for one in told],
        }
    )


def _fields(report: "ServingReport") -> dict[str, object]:
    return {name: getattr(report, name) for name in report.__struct_fields__}


def _print_store(counted: "StoreStats", model: str) -> None:
    statuses = ", ".join(f"{count:,} {status}" for status, count in counted.statuses.items() if count)
    rows = [
        ("model", model),
        ("edits", statuses or "none"),
        ("keys in the index", f"{counted.active_keys:,}"),
        ("in use", size(counted.used_bytes)),
        ("a live edit", f"{size(counted.bytes_per_edit)} in use, all included"),
        ("given", ", ".join(f"{name} {size(count)}" for name, count in counted.payload.items())),
        ("on disk", size(counted.file_bytes)),
        *((f"{many:,} such edits", size(counted.projected_bytes(many))) for many in _MANY),
        ("log", f"{counted.last_seq:,} entries"),
    ]
    facts("", rows)
    rows_ = ((name, f"{one.entries:,}", size(one.bytes)) for name, one in counted.tables.items())
    table(None, ("table", "entries", "bytes"), rows_)


def _print_report(report: "ServingReport") -> None:
    slots = report.slots
    state = {True: "running", False: "ended", None: "on another machine"}[report.running]
    rows = [
        ("reported", f"{when(report.at)} UTC, {state}"),
        ("slots", f"{slots.resident:,} of {slots.capacity:,} filled, {size(slots.slot_bytes)} in all"),
        ("hits, misses", f"{slots.hits:,}, {slots.misses:,}"),
        ("evicted", f"{slots.evictions:,}; {slots.overflows:,} found every slot taken by their own batch"),
    ]
    say("")
    facts(f"[bold]process {report.pid} on {report.host}[/]", rows)
    kinds = {
        "a prompt routed": report.routing,
        "a batch staged": slots.staging,
        "an edit paged in": slots.page_in,
    }
    table(None, ("time up to", *kinds), _histogram(list(kinds.values())))


def _histogram(kinds: "list[Latencies]") -> list[list[str]]:
    """A row a bucket, from the first that holds anything to the last."""
    uppers = kinds[0].upper_microseconds
    filled = [row for row in range(len(uppers)) if any(kind.counts[row] for kind in kinds)]
    rows = range(min(filled), max(filled) + 1) if filled else ()
    return [
        [_duration(uppers[row]), *(f"{kind.counts[row]:,}" if kind.counts[row] else "" for kind in kinds)]
        for row in rows
    ]


def _duration(microseconds: float) -> str:
    for unit, length in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= length:
            return f"{microseconds / length:.3g} {unit}"
    return f"{microseconds:.3g} µs"
