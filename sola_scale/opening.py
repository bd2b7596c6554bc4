"""Opening a store on a model: create or open, check that they belong together, bring up index and slots."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import torch
import xxhash

from sola_scale import recipes
from sola_scale.backbone import Backbone, fingerprint, load_backbone
from sola_scale.errors import SolaError, StoreError, StoreNotFoundError
from sola_scale.keys import Calibration
from sola_scale.live import LiveIndex
from sola_scale.lora.layout import AdapterLayout, layer_of
from sola_scale.lora.pager import Pager, Visit
from sola_scale.recipes import Recipe
from sola_scale.store import LmdbStore, Store, StoreManifest

_CURRENT = "calibration/current"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything an editor is made of."""

    path: Path
    """Folder of the store."""
    backbone: Backbone
    """The model."""
    store: Store
    """The truth."""
    live: LiveIndex
    """The key index, following the store."""
    pager: Pager
    """The device-resident adapters."""
    calibration: Calibration
    """Views to keys, and the threshold."""
    calibration_id: int
    """Which calibration of the store that is."""
    layouts: tuple[AdapterLayout, ...]
    """The size classes of adapters."""
    recipe: Recipe
    """How edits are trained."""
    read_only: bool
    """Whether another process may be writing and this one must not."""

    @property
    def modules(self) -> list[str]:
        """Dotted paths of every linear map that some edit may change."""
        return sorted({path for layout in self.layouts for path in layout.paths})

    @property
    def decision_layer(self) -> int:
        """The first layer that an edit may change: the route is decided before it runs."""
        return first_edited_layer(self.backbone, self.layouts)

    def recalibrated(self) -> "Parts":
        """The same parts with the store's calibration of the moment, and an index of its keys."""
        version, stored = current_calibration(self.store)
        calibration = stored.on(self.backbone)
        live = LiveIndex(self.store, dim=calibration.retrieval_dim, folder=self.live.folder)
        return replace(self, calibration=calibration, calibration_id=version, live=live)

    def close(self) -> None:
        """Snapshot the index and release everything."""
        try:
            if not self.read_only:
                self.live.snapshot()
        finally:
            self.live.close()
            self.store.close()


def backbone_of(
    model: Any, *, device: str | torch.device | None, dtype: torch.dtype, trust_remote_code: bool
) -> Backbone:
    """Return ``model`` if it is a backbone already, else load it."""
    if isinstance(model, Backbone):
        return model
    return load_backbone(model, device=device, dtype=dtype, trust_remote_code=trust_remote_code)


def open_parts(
    path: Path, backbone: Backbone, *, recipe: Recipe | None, read_only: bool, create: bool, slot_memory: int
) -> Parts:
    """Open the store at ``path``, or create it, and bring up what stands on it."""
    store = _open_store(path, backbone, recipe=recipe, read_only=read_only, create=create)
    try:
        return _assemble(path, store, backbone, read_only=read_only, slot_memory=slot_memory)
    except BaseException:
        store.close()
        raise


def first_edited_layer(backbone: Backbone, layouts: Sequence[AdapterLayout]) -> int:
    """Return the lowest layer that any of ``layouts`` changes."""
    return min(layer_of(backbone, path) for layout in layouts for path in layout.paths)


def _assemble(path: Path, store: Store, backbone: Backbone, *, read_only: bool, slot_memory: int) -> Parts:
    layouts = tuple(AdapterLayout.from_json(one) for one in store.manifest.layout["classes"])
    calibration_id, stored = current_calibration(store)
    calibration = stored.on(backbone)
    live = LiveIndex(store, dim=calibration.retrieval_dim, folder=None if read_only else path / "index")
    pager = Pager(
        layouts,
        lambda ids, visit: _load(store, ids, visit),
        memory=slot_memory,
        device=backbone.device,
        dtype=torch.float32 if backbone.device.type == "cpu" else backbone.dtype,
    )
    return Parts(
        path=path,
        backbone=backbone,
        store=store,
        live=live,
        pager=pager,
        calibration=calibration,
        calibration_id=calibration_id,
        layouts=layouts,
        recipe=recipes.by_name(store.manifest.recipe["name"]),
        read_only=read_only,
    )


def calibration_blobs(version: int, calibration: Calibration) -> dict[str, bytes]:
    """The blobs that make ``calibration`` a store's current one: all versions stay, one name says which serves."""
    return {f"calibration/{version}": calibration.to_bytes(), _CURRENT: str(version).encode()}


def current_calibration(store: Store) -> tuple[int, Calibration]:
    """Version and content of the calibration that a store's keys were made with."""
    version = int(store.blob(_CURRENT))
    return version, Calibration.from_bytes(store.blob(f"calibration/{version}"))


def _open_store(
    path: Path, backbone: Backbone, *, recipe: Recipe | None, read_only: bool, create: bool
) -> Store:
    if (path / "edits.lmdb").exists():
        return LmdbStore.open(path, read_only=read_only, fingerprint=fingerprint(backbone))
    if read_only or not create:
        raise StoreNotFoundError(f"there is no store at {path}; create one with: sola init {path}")
    if path.exists() and any(path.iterdir()):
        raise StoreError(f"{path} is not empty and holds no store; choose another folder")
    return _create_store(path, backbone, recipe or recipes.default())


def _create_store(path: Path, backbone: Backbone, recipe: Recipe) -> Store:
    layouts = recipe.layouts(backbone)
    layout = {"classes": [one.to_json() for one in layouts]}
    layout_hash = xxhash.xxh3_128(msgspec.json.encode(layout, order="sorted")).hexdigest()
    calibration = recipe.calibration(backbone, first_edited_layer(backbone, layouts))
    store = LmdbStore.create(
        path,
        StoreManifest(
            model_name=backbone.name,
            fingerprint={**fingerprint(backbone), "layout": layout_hash},
            layout=layout,
            recipe={"name": recipe.name},
        ),
    )
    store.put_blobs(calibration_blobs(1, calibration))
    return store


def _load(store: Store, ids: Sequence[int], visit: Visit) -> None:
    """Show what can be had of the weights of ``ids``: one damaged edit must not keep its batch mates from firing."""
    shown: list[int] = []

    def noting(edit_id: int, payload: memoryview) -> None:
        visit(edit_id, payload)
        shown.append(edit_id)

    try:
        store.read_weights(ids, noting)
    except SolaError:
        for edit_id in (one for one in ids if one not in shown):
            # Gone, purged or damaged: the pager reports what did not arrive.
            with contextlib.suppress(SolaError):
                store.read_weights([edit_id], visit)
