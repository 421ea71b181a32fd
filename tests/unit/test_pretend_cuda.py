"""The pretended device refuses what a CUDA device would."""

import numpy as np
import pytest
import torch
from pretend_cuda import Stream, in_stream, memory, pretend_cuda
from torch.cuda._sanitizer import CUDASanitizerErrors


@pytest.fixture(autouse=True)
def device():
    with pretend_cuda(limit=10**6):
        yield


def ones(*shape, **options):
    return torch.ones(*shape, device="cuda", **options)


def test_numbers_come_back():
    x = torch.arange(12.0).reshape(3, 4)
    there = (x.to("cuda").T.conj() @ torch.tensor([1.0, 2, 3], device="cuda")).exp()
    assert there.device == torch.device("cuda", 0)
    torch.testing.assert_close(there.cpu(), (x.T @ torch.tensor([1.0, 2, 3])).exp())
    part = there[1:3]
    part.zero_()
    assert there.tolist()[1:3] == [0, 0]
    conjugated = (1j * ones(2)).conj()
    assert conjugated.is_conj()
    assert conjugated.cpu().tolist() == conjugated.resolve_conj().tolist() == [-1j, -1j]


@pytest.mark.parametrize(
    "mixed",
    [
        lambda: ones(3) + torch.ones(3),
        lambda: torch.ones(3) * ones(3),
        lambda: ones(3).addcmul_(ones(3), torch.ones(3)),
        lambda: torch.ones(3)[ones(2, dtype=torch.int64)],
        lambda: torch.stack([ones(3), torch.ones(3)]),
    ],
)
def test_tensors_of_two_devices_do_not_meet(mixed):
    with pytest.raises(RuntimeError, match="same device"):
        mixed()


def test_numbers_of_the_host_and_its_indices_are_taken():
    assert (ones(3) * torch.tensor(2.0))[torch.tensor([0, 2])].cpu().tolist() == [2, 2]


def test_host_has_no_access():
    with pytest.raises(RuntimeError, match="numpy"):
        ones(3).numpy()
    with pytest.raises(RuntimeError, match="numpy"):
        np.asarray(ones(3))


def test_an_operation_that_cuda_lacks_is_refused():
    torch.histogram(torch.rand(5), 3)
    with pytest.raises(NotImplementedError, match="histogram"):
        torch.histogram(ones(5), 3)


def test_memory_is_counted_and_ends():
    before = memory.now
    first = ones(100_000)
    view = first[10:]
    assert memory.now - before == 400_384  # in blocks of 512 bytes
    del first
    assert memory.now - before == 400_384
    with pytest.raises(torch.OutOfMemoryError):
        ones(200_000)
    del view
    assert memory.now == before
    second = ones(200_000)
    assert second.nbytes == 800_000
    assert torch.cuda.max_memory_allocated() == before + 800_256


def test_work_areas_of_ffts_count():
    torch.cuda.reset_peak_memory_stats()
    x = ones(1000, dtype=torch.complex64)
    torch.fft.fft(x)
    assert torch.cuda.max_memory_allocated() >= 3 * x.nbytes


@pytest.mark.parametrize("ordered", [False, True])
def test_streams_have_to_be_ordered(ordered):
    x, stream = ones(5), Stream()
    if ordered:
        stream.wait_stream(torch.cuda.current_stream())
        with in_stream(stream):
            x.add_(1)
        torch.cuda.current_stream().wait_stream(stream)
        assert x.sum().item() == 10
        return
    with pytest.raises(CUDASanitizerErrors), torch.cuda.stream(stream):
        x.add_(1)
