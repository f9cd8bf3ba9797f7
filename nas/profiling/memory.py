"""Peak memory of a forward pass: parameters, inputs and the most that PyTorch held for it at once."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from nas.profiling.program import Tensors


def peak_memory_bytes(module: nn.Module, inputs: Tensors) -> int:
    """Bytes; on the CPU by following every allocation of an operation's result, on a GPU by its allocator.

    Scratch space inside a fused kernel of the CPU is not seen.
    """
    held = [*module.parameters(), *module.buffers(), *inputs]
    owned = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in held}
    if inputs[0].is_cuda:
        return _on_gpu(module, inputs)
    with torch.no_grad(), _Tracker(set(owned)) as tracker:
        module(*inputs)
    peak: int = tracker.peak
    return sum(owned.values()) + peak


def _on_gpu(module: nn.Module, inputs: Tensors) -> int:
    device = inputs[0].device
    torch.cuda.reset_peak_memory_stats(device)
    with torch.inference_mode():
        module(*inputs)
    torch.cuda.synchronize(device)
    return int(torch.cuda.max_memory_allocated(device))


class _Tracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the storages that live at each moment, those in `known` left out."""

    def __init__(self, known: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known, self._live = known, 0
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()
        self.peak = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._note(leaf.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        if storage in self._seen or storage.data_ptr() in self._known:
            return
        self._seen.add(storage)
        size = storage.nbytes()
        self._live += size
        self.peak = max(self.peak, self._live)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self._live -= size
