"""A CUDA device that is not there: its tensors lie in the host's memory, and its rules hold.

So the code for devices runs on machines without one, through the same path, and fails where a
device would refuse it:

- an operation on tensors of two devices, and one that CUDA has no kernel for;
- access to a tensor's memory from the host (NumPy, a library for CPUs);
- memory beyond that of the device, counted as torch's allocator does: `torch.OutOfMemoryError`;
- use of a tensor in two streams that are not ordered, found by torch's own CUDA Sanitizer.

It does not show what a device computes, nor how fast. A tensor on it is a `DeviceTensor` around one
on the CPU, in torch builds for CUDA and in those that are not.
"""

import ctypes
import functools
import math
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch.cuda import _sanitizer as sanitizer
from torch.utils._python_dispatch import return_and_correct_aliasing

from pipeline.engine import limits
from pipeline.operators import nufft_choice

CUDA = torch.device("cuda", 0)
aten = torch.ops.aten
BETWEEN_DEVICES = {aten.copy_.default, aten._to_copy.default}
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
ON_HOST = {aten._local_scalar_dense.default, aten.equal.default}
BYTES_IN_BLOCK = 512
"""What torch's allocator rounds each tensor up to."""


class Memory:
    """Bytes of the tensors on the device: now, at most so far, and allowed."""

    def __init__(self) -> None:
        self.tensors: weakref.WeakValueDictionary[int, Allocation] = weakref.WeakValueDictionary()
        self.total = self.limit = self.now = self.peak = 0
        self.lock = threading.RLock()

    def of(self, inner: torch.Tensor) -> "Allocation":
        storage = inner.untyped_storage()
        with self.lock:
            found = self.tensors.get(storage._cdata)
            if found is None:
                found = Allocation(self, storage)
                self.tensors[storage._cdata] = found
        return found

    def take(self, size: int) -> None:
        """Count `size` more; refuse it as torch does where the limit would be passed."""
        with self.lock:
            if self.now + size > self.limit:
                raise torch.OutOfMemoryError(
                    f"CUDA out of memory. Tried to allocate {size} bytes of {self.limit}, "
                    f"of which {self.now} are in use"
                )
            self.now += size
            self.peak = max(self.peak, self.now)

    def give(self, size: int) -> None:
        """Count `size` less."""
        with self.lock:
            self.now -= size

    def passing(self, size: int) -> None:
        """Count what is taken only while an operation runs."""
        self.take(size)
        self.give(size)


class Allocation:
    """A piece of the device's memory, as long as a tensor uses it."""

    size = 0

    def __init__(self, memory: Memory, storage: torch.UntypedStorage) -> None:
        size = -(-storage.nbytes() // BYTES_IN_BLOCK) * BYTES_IN_BLOCK
        memory.take(size)
        self.memory, self.size, self.address = memory, size, storage.data_ptr()

    def __del__(self) -> None:
        if self.size:
            with self.memory.lock:
                self.memory.give(self.size)
                races.tensors_accessed.accesses.pop(self.address, None)


class DeviceTensor(torch.Tensor):
    """A tensor on the device."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "DeviceTensor":
        allocation = memory.of(inner)
        # As on a device, these are marks of the tensor, not of what lies in its memory.
        conjugated, negated = inner.is_conj(), inner.is_neg()
        inner = inner.conj() if conjugated else inner
        inner = torch._neg_view(inner) if negated else inner
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=CUDA,
        )
        tensor.raw, tensor.allocation = inner, allocation
        torch._C._set_conj(tensor, conjugated)
        torch._C._set_neg(tensor, negated)
        return tensor

    def __init__(self, inner: torch.Tensor) -> None:
        pass

    @property
    def inner(self) -> torch.Tensor:
        inner = self.raw.conj() if self.is_conj() else self.raw
        return torch._neg_view(inner) if self.is_neg() else inner

    def data_ptr(self) -> int:
        """Name what is accessed, for the sanitizer: by a view, all that it is a view of."""
        return self.allocation.address

    def tolist(self) -> object:
        return self.inner.tolist()

    def __repr__(self) -> str:
        return f"DeviceTensor({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


class Stream:
    """Work in order; its number is all there is to it."""

    numbers = iter(range(1, 10**9))

    def __init__(self, device=None, priority=0, *, number: int | None = None) -> None:
        self.device, self.cuda_stream = CUDA, next(self.numbers) if number is None else number
        if number is None:
            races._handle_stream_creation(self.cuda_stream)

    def wait_stream(self, other: "Stream") -> None:
        Event().record(other).wait(self)

    def wait_event(self, event: "Event") -> None:
        event.wait(self)

    def record_event(self, event: "Event | None" = None) -> "Event":
        return (event or Event()).record(self)

    def synchronize(self) -> None:
        races._handle_stream_synchronization(self.cuda_stream)


class Event:
    """A place in a stream."""

    def __init__(self, enable_timing: bool = False, **_: object) -> None:
        races._handle_event_creation(id(self))

    def record(self, stream: Stream | None = None) -> "Event":
        races._handle_event_record(id(self), (stream or current_stream()).cuda_stream)
        return self

    def wait(self, stream: Stream | None = None) -> None:
        races._handle_event_wait(id(self), (stream or current_stream()).cuda_stream)

    def synchronize(self) -> None:
        races._handle_event_synchronization(id(self))


memory = Memory()
races = sanitizer.EventHandler()
DEFAULT = Stream(number=0)
_local = threading.local()


def current_stream(device: object = None) -> Stream:
    return getattr(_local, "stream", DEFAULT)


@contextmanager
def in_stream(stream: Stream | None) -> Iterator[None]:
    before = current_stream()
    _local.stream = stream or before
    try:
        yield
    finally:
        _local.stream = before


@functools.cache
def cuda_operations() -> frozenset[str]:
    """Return the operations of ATen that CUDA has a kernel for, or that consist of such ones."""
    import torchgen
    from torchgen.gen import parse_native_yaml
    from torchgen.model import DispatchKey

    folder = Path(torchgen.__file__).parent / "packaged" / "ATen" / "native"
    parsed = parse_native_yaml(str(folder / "native_functions.yaml"), str(folder / "tags.yaml"))
    kernels = parsed.backend_indices[DispatchKey.CUDA]
    return frozenset(
        f"aten::{function.func.name}"
        for function in parsed.native_functions
        if function.structured_delegate
        or function.has_composite_kernel
        or kernels.has_kernel(function)
    )


def each(change: Callable, value: object) -> object:
    """Return what `change` makes of a value, or of each in its lists; pytree is slower."""
    if isinstance(value, list | tuple):
        return type(value)(each(change, item) for item in value)
    return change(value)


def tensors_in(*values: object) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    each(lambda value: found.append(value) if isinstance(value, torch.Tensor) else None, values)
    return found


def refuse_mixture(func: torch._ops.OpOverload, args: tuple, kwargs: dict) -> None:
    """Raise what torch raises for tensors of two devices; scalars of the CPU go with any."""
    if func in BETWEEN_DEVICES:
        return
    given = tensors_in(args[0]) if func in INDEXED else tensors_in(args, *kwargs.values())
    on_host = [tensor for tensor in given if not isinstance(tensor, DeviceTensor)]
    if any(tensor.ndim for tensor in on_host) or (func in INDEXED and on_host):
        raise RuntimeError(
            f"{func}: expected all tensors to be on the same device, found cpu and {CUDA}"
        )


def passing_bytes(func: torch._ops.OpOverload, result: object) -> int:
    """Return what an operation takes while it runs: cuFFT a work area of the result's size."""
    if "_fft" in func.__name__:
        return sum(tensor.nbytes for tensor in tensors_in(result))
    return 0


def here(value: object) -> object:
    """Return a tensor of the device, or the device, as it is on the host."""
    if isinstance(value, DeviceTensor):
        return value.inner
    return torch.device("cpu") if isinstance(value, torch.device) else value


def there(value: object) -> object:
    """Return a tensor of the host as one of the device."""
    return DeviceTensor(value) if isinstance(value, torch.Tensor) else value


def run(func: torch._ops.OpOverload, args: tuple, kwargs: dict) -> object:
    """Do an operation of the device in the host's memory."""
    name = func._schema.name + (f".{o}" if (o := func._schema.overload_name) else "")
    if name.startswith("aten::") and name not in cuda_operations():
        raise NotImplementedError(f"{name} has no kernel for CUDA")
    refuse_mixture(func, args, kwargs)
    accessed = sanitizer.ArgumentHandler()
    factory = bool(sanitizer.FACTORY_FUNCTION_REGEX.match(func._schema.name))
    accessed.parse_inputs(func._schema, args, kwargs, is_factory=factory)
    device = kwargs.get("device")
    to_host = func in ON_HOST or (device is not None and torch.device(device).type == "cpu")
    options = {key: each(here, value) for key, value in kwargs.items() if key != "pin_memory"}
    result = func(*each(here, args), **options)
    if not to_host:
        result = return_and_correct_aliasing(func, args, kwargs, each(there, result))
    memory.passing(passing_bytes(func, result))
    accessed.parse_outputs(func._schema, result, is_factory=factory)
    launched(
        func.__name__,
        accessed.dataptrs_read - accessed.dataptrs_written,
        accessed.dataptrs_written,
        accessed.tensor_aliases,
    )
    # A copy to pageable memory, and a number, are waited for.
    if to_host or (func is aten.copy_.default and not isinstance(args[0], DeviceTensor)):
        current_stream().synchronize()
    return result


def launched(name: str, read: set[int], written: set[int], aliases: dict | None = None) -> None:
    """Raise where work in the current stream is not ordered after that which it depends on."""
    aliases = aliases or {address: [] for address in read | written}
    with memory.lock:
        errors = races._handle_kernel_launch(
            current_stream().cuda_stream, read, written, set(), name, aliases
        )
    if errors:
        raise sanitizer.CUDASanitizerErrors(errors)


class CufinufftPlan:
    """cuFINUFFT's plan by its relative for CPUs, as far as it is used here."""

    def __init__(
        self, kind, shape, transforms, *, isign, eps, dtype, upsampfac,
        gpu_kerevalmeth, gpu_device_id, gpu_stream,
    ) -> None:  # fmt: skip
        import finufft

        options = {"eps": eps, "dtype": dtype, "upsampfac": upsampfac, "nthreads": 1}
        self.plan = finufft.Plan(kind, shape, transforms, isign=isign, **options)
        grid = math.prod(math.ceil(upsampfac * size) for size in shape)
        # Its grid, and cuFFT's work area of the same size.
        self.size = 2 * transforms * grid * np.dtype(dtype).itemsize
        memory.take(self.size)
        self.stream = Stream(number=gpu_stream)

    def __del__(self) -> None:
        memory.give(self.size)

    def setpts(self, *points: DeviceTensor) -> None:
        self.plan.setpts(*(axis.inner.numpy() for axis in points))

    def execute(self, data: DeviceTensor, out: DeviceTensor) -> DeviceTensor:
        if not (data.is_contiguous() and out.is_contiguous()):
            raise ValueError("cufinufft: arrays must be contiguous")
        self.plan.execute(data.inner.numpy(), out=out.inner.numpy())
        with in_stream(self.stream):
            launched("cufinufft", {data.data_ptr()}, {out.data_ptr()})
        return out


def _interpreted(call: Callable) -> Callable:
    """Let Triton's interpreter run a kernel on tensors of the device."""

    @functools.wraps(call)
    def called(executor: object, *args: object, **kwargs: object) -> None:
        call(executor, *map(here, args), **kwargs)
        launched("triton", set(), {tensor.data_ptr() for tensor in tensors_in(args)})

    return called


def _with_index(function: Callable) -> Callable:
    """Let a function take ``cuda`` for ``cuda:0``: torch would ask the driver which it is."""

    @functools.wraps(function)
    def called(*args: object, **kwargs: object) -> object:
        def named(value: object) -> object:
            is_device = isinstance(value, str | torch.device)
            return CUDA if is_device and str(value) == "cuda" else value

        return function(*map(named, args), **{key: named(value) for key, value in kwargs.items()})

    return called


def _made_on_host(function: Callable) -> Callable:
    """Let a function that makes a tensor of numbers make it on the CPU, and then move it."""

    @functools.wraps(function)
    def called(*args: object, device: object = None, **kwargs: object) -> torch.Tensor:
        made = function(*args, **kwargs)
        return made if device is None else made.to(device)

    return called


@functools.cache
def _factories() -> torch.library.Library:
    """Make what torch makes on the device, in all threads: all else is done with what is there."""
    if torch.version.cuda is None:
        # Such a build does not know which device is current either: what knows nothing of it for
        # torch's `meta` device has to do.
        c10 = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
        guards = (ctypes.c_void_p * 15).in_dll(c10, "_ZN3c104impl26device_guard_impl_registryE")
        guards[1] = guards[14]  # c10::DeviceType, CUDA and Meta
    else:
        torch._C._ensureCUDADeviceGuardSet()
    library = torch.library.Library("aten", "IMPL", "CUDA")
    with warnings.catch_warnings():  # that a build for CUDA has kernels of its own
        warnings.simplefilter("ignore")
        for name, factory in {
            "empty.memory_format": aten.empty.memory_format,
            "empty_strided": aten.empty_strided.default,
        }.items():
            library.impl(name, lambda *args, of=factory, **kwargs: run(of, args, kwargs))
    return library


@contextmanager
def pretend_cuda(limit: int = 8 * 10**9) -> Iterator[Memory]:
    """Have one CUDA device of `limit` bytes in the block; yields the account of its memory."""
    _factories()
    cufinufft = ModuleType("cufinufft")
    cufinufft.Plan, cufinufft.__spec__ = CufinufftPlan, ModuleSpec("cufinufft", None)
    driver = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda device: SimpleNamespace(total=memory.total, used=memory.now),
        nvmlSystemGetDriverVersion=lambda: "pretended",
    )
    # What a block before this one has left behind is nobody's.
    memory.total = memory.limit = limit + memory.now
    memory.peak = memory.now

    def reset(device: object = None) -> None:
        memory.peak = memory.now

    untraced = SimpleNamespace(extract=lambda *args, **kwargs: [])
    with pytest.MonkeyPatch.context() as change:
        for name, value in {
            "_lazy_init": lambda: None,
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "get_device_name": lambda device=None: "pretended",
            "current_stream": current_stream,
            "default_stream": lambda device=None: DEFAULT,
            "stream": in_stream,
            "Stream": Stream,
            "Event": Event,
            "synchronize": lambda device=None: races._handle_device_synchronization(),
            "empty_cache": lambda: None,
            "device_of": lambda tensor: nullcontext(),
            "reset_peak_memory_stats": reset,
            "max_memory_allocated": lambda device=None: memory.peak,
            "memory_allocated": lambda device=None: memory.now,
            "mem_get_info": lambda device=None: (memory.total - memory.now, memory.total),
            "set_per_process_memory_fraction": lambda fraction, device=None: setattr(
                memory, "limit", int(fraction * memory.total)
            ),
        }.items():
            change.setattr(torch.cuda, name, value)
        for name in ("tensor", "as_tensor", "asarray"):
            change.setattr(torch, name, _made_on_host(getattr(torch, name)))
        for name, value in {
            "to": _with_index(torch.Tensor.to),
            "new_tensor": lambda tensor, data: torch.tensor(
                data, dtype=tensor.dtype, device=tensor.device
            ),
            "cuda": lambda tensor, *args, **kwargs: tensor.to(CUDA),
            "pin_memory": lambda tensor, *args: tensor,
            "record_stream": lambda tensor, stream: None,
        }.items():
            change.setattr(torch.Tensor, name, value)
        # So that a module's parameters become tensors of the device, rather than hold such ones.
        change.setattr(torch.__future__, "get_swap_module_params_on_conversion", lambda: True)
        # Where an access was made is of no use here, and takes most of the time.
        unused = SimpleNamespace(StackSummary=untraced, walk_stack=lambda frame: None)
        change.setattr(sanitizer, "traceback", unused)
        change.setitem(sys.modules, "pynvml", driver)
        change.setitem(sys.modules, "cufinufft", cufinufft)
        change.setattr(nufft_choice, "_why_cufinufft_fails", lambda: "")
        if find_spec("triton"):
            from triton.runtime.interpreter import GridExecutor

            change.setattr(GridExecutor, "__call__", _interpreted(GridExecutor.__call__))
            change.setattr(nufft_choice, "_why_triton_fails", lambda: "")
        change.setattr(limits, "_torch_has_cuda", lambda: True)
        yield memory
