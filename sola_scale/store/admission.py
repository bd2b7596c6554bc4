"""Whether a file may be opened: its format, upgraded where it is older, and the model it belongs to."""

from collections.abc import Callable, Mapping

import msgspec

from sola_scale.errors import FingerprintMismatchError, FormatVersionError
from sola_scale.store.bookkeeping import FORMAT_VERSION, read_manifest, write_manifest
from sola_scale.store.environment import Environment
from sola_scale.store.records import StoreManifest
from sola_scale.store.transaction import WriteTransaction

MIGRATIONS: dict[int, Callable[[WriteTransaction], None]] = {}
"""Format version → what turns a store of it into one of the next; all steps run in one transaction."""


def admit(environment: Environment, fingerprint: Mapping[str, str] | None, *, writing: bool) -> None:
    """Check an opened file, and upgrade an older one that is opened for writing.

    Raises:
        FormatVersionError: Its format is newer, or older and it cannot be upgraded now.
        FingerprintMismatchError: It belongs to another model, tokenizer or layout.
        CorruptRecordError: It is an LMDB file but no store.
    """
    with environment.read() as txn:
        manifest = read_manifest(txn)
    _check_version(manifest.format_version, writing=writing)
    _check_fingerprint(manifest, fingerprint or {})
    if manifest.format_version < FORMAT_VERSION:
        with environment.write() as writer:
            _upgrade(writer, manifest)


def _check_version(version: int, *, writing: bool) -> None:
    if version > FORMAT_VERSION:
        raise FormatVersionError(
            f"the store has format {version}, this version reads up to {FORMAT_VERSION}: upgrade"
        )
    missing = [old for old in range(version, FORMAT_VERSION) if old not in MIGRATIONS]
    if missing:
        raise FormatVersionError(f"the store has format {version}, which this version can no longer upgrade")
    if version < FORMAT_VERSION and not writing:
        raise FormatVersionError(
            f"the store has format {version}: open it once for writing, which upgrades it"
        )


def _check_fingerprint(manifest: StoreManifest, given: Mapping[str, str]) -> None:
    differing = [part for part, value in given.items() if manifest.fingerprint.get(part) != value]
    if differing:
        pairs = (
            f"{part} {manifest.fingerprint.get(part)} in the store, {given[part]} given" for part in differing
        )
        raise FingerprintMismatchError(
            f"the store was made with {manifest.model_name!r} and does not fit what it is opened with: "
            f"another {' and '.join(differing)} ({'; '.join(pairs)})"
        )


def _upgrade(txn: WriteTransaction, manifest: StoreManifest) -> None:
    for version in range(manifest.format_version, FORMAT_VERSION):
        MIGRATIONS[version](txn)
    write_manifest(txn, msgspec.structs.replace(manifest, format_version=FORMAT_VERSION))
