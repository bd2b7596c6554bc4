"""The seam to the GPU: the few things the index asks of a device, and their CUDA form."""

from typing import Any, Protocol

import numpy as np

from sola_index.backend import faiss
from sola_index.contract import Floats, Rows
from sola_index.errors import DeviceError

# Shapes: M queries, N keys, D dimensions, K answers, S slots.


class Device(Protocol):
    """Memory and kernels; every method is called by one thread at a time."""

    def reserve(self, slots: int, dim: int) -> None:
        """Make room for so many keys, keeping those that are there."""

    def write(self, start: int, keys_ND: Floats) -> None:
        """Put keys into the slots from ``start`` on."""

    def move(self, source: int, target: int) -> None:
        """Copy one slot onto another."""

    def nearest(self, slots: int, queries_MD: Floats, k: int) -> Rows:
        """The k nearest of the first ``slots`` slots by brute force, int64 [M, K]."""

    def clone(self, index: Any) -> Any:
        """A read-only copy of a faiss CPU index on the device."""


def cuda_device(number: int = 0) -> Device:
    """The CUDA device of this number.

    Raises:
        DeviceError: faiss sees no such device, or torch is missing. Nothing of faiss's GPU half is called before that
            is known: without a device its brute force does not raise, it ends the process.
    """
    devices = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    if number >= devices:
        fix = "install faiss-gpu instead of faiss-cpu, on a machine with an NVIDIA driver"
        raise DeviceError(f"faiss sees {devices} GPUs and was asked for number {number}; {fix}")
    try:
        return _CudaDevice(number)
    except ImportError as error:
        raise DeviceError("the GPU tier keeps its keys in a torch tensor; fix: pip install torch") from error


class _CudaDevice:
    """Keys as one float16 tensor; faiss's brute-force kernel reads it where it lies."""

    def __init__(self, number: int) -> None:
        import torch

        self._torch = torch
        self._number = number
        self._resources = faiss.StandardGpuResources()
        self._keys_SD = torch.empty((0, 0), dtype=torch.float16, device=f"cuda:{number}")
        # Kept, or the kernel would read every key twice: once for its length.
        self._squares_S = torch.empty(0, dtype=torch.float32, device=f"cuda:{number}")

    def reserve(self, slots: int, dim: int) -> None:
        kept = min(slots, len(self._keys_SD))
        larger_SD, squares_S = self._keys_SD.new_empty((slots, dim)), self._squares_S.new_empty(slots)
        if kept:
            larger_SD[:kept], squares_S[:kept] = self._keys_SD[:kept], self._squares_S[:kept]
        self._keys_SD, self._squares_S = larger_SD, squares_S

    def write(self, start: int, keys_ND: Floats) -> None:
        slots = slice(start, start + len(keys_ND))
        keys = self._torch.from_numpy(np.ascontiguousarray(keys_ND)).to(self._keys_SD.device)
        self._keys_SD[slots] = keys.to(self._torch.float16)
        self._squares_S[slots] = self._keys_SD[slots].float().square().sum(dim=1)

    def move(self, source: int, target: int) -> None:
        self._keys_SD[target], self._squares_S[target] = self._keys_SD[source], self._squares_S[source]

    def nearest(self, slots: int, queries_MD: Floats, k: int) -> Rows:
        queries = self._torch.from_numpy(np.ascontiguousarray(queries_MD))
        queries_MD16 = queries.to(self._keys_SD.device, self._torch.float16)
        distances_MK = self._torch.empty(
            (len(queries), k), dtype=self._torch.float32, device=queries_MD16.device
        )
        slots_MK = self._torch.empty((len(queries), k), dtype=self._torch.int64, device=queries_MD16.device)
        task = _brute_force(self._keys_SD[:slots], queries_MD16, distances_MK, slots_MK)
        task.vectorNorms = faiss.cast_integer_to_float_ptr(self._squares_S.data_ptr())
        task.device = self._number
        # faiss has streams of its own: on torch's it comes after what torch has queued, and before the copy below.
        stream = self._torch.cuda.current_stream(self._number).cuda_stream
        self._resources.setDefaultStream(self._number, faiss.cast_integer_to_cudastream_t(stream))
        faiss.bfKnn(self._resources, task)
        return np.asarray(slots_MK.cpu().numpy(), np.int64)

    def clone(self, index: Any) -> Any:
        return faiss.index_cpu_to_gpu(self._resources, self._number, index)


def _brute_force(keys_SD: Any, queries_MD: Any, distances_MK: Any, slots_MK: Any) -> Any:
    """The k nearest by Euclidean distance, described to faiss by addresses: it knows no torch tensors."""
    task = faiss.GpuDistanceParams()
    task.metric, task.k, task.dims = faiss.METRIC_L2, slots_MK.shape[1], keys_SD.shape[1]
    task.vectors, task.numVectors = faiss.cast_integer_to_void_ptr(keys_SD.data_ptr()), len(keys_SD)
    task.queries, task.numQueries = faiss.cast_integer_to_void_ptr(queries_MD.data_ptr()), len(queries_MD)
    task.vectorType = task.queryType = faiss.DistanceDataType_F16
    task.vectorsRowMajor = task.queriesRowMajor = True
    task.outDistances = faiss.cast_integer_to_float_ptr(distances_MK.data_ptr())
    task.outIndices = faiss.cast_integer_to_void_ptr(slots_MK.data_ptr())
    task.outIndicesType = faiss.IndicesDataType_I64
    return task
