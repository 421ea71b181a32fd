"""The public names, the examples of docs/python.md, and those of torchkbnufft beside it."""

import copy
import os
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from adjointness import random_complex
from exact import exact_forward, relative_error

import kronufft

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/python.md").read_text()


def radial(spokes, samples, dtype=torch.float32):
    angles = torch.pi * 0.6180339887 * torch.arange(spokes, dtype=dtype)
    radii = 2 * torch.pi * (torch.arange(samples, dtype=dtype) / samples - 0.5)
    return torch.stack([torch.outer(angles.sin(), radii), torch.outer(angles.cos(), radii)])


def test_examples_of_the_page_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    torch.manual_seed(0)
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        exec(compile(block, "docs/python.md", "exec"), names)
    assert "16 MB" not in capsys.readouterr().err


def test_importing_loads_nothing_and_every_name_is_there():
    code = "import sys, kronufft; print(sorted({'torch', 'zarr', 'numpy'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == "[]\n"
    for name in kronufft.__all__:
        assert getattr(kronufft, name) is not None
        if name not in ("__version__", "Scene"):
            assert f"`{name}`" in PAGE, name
    with pytest.raises(AttributeError, match="kronufft has no `nufft2`"):
        kronufft.nufft2  # noqa: B018


@pytest.mark.parametrize("shape", [(23,), (12, 15), (6, 9, 8)], ids=str)
def test_module_agrees_with_the_exact_sum(shape):
    generator = torch.Generator().manual_seed(3)
    k = (torch.rand(2, len(shape), 40, generator=generator, dtype=torch.float64) - 0.5) * 6
    x = random_complex(2, 3, *shape)
    nufft = kronufft.NUFFT(shape, tolerance=1e-9)
    for found, images, points in (
        (nufft(x, k), x, k),
        (nufft(x[0], k[0])[None], x[:1], k[:1]),
    ):
        for frame, image in enumerate(images):
            truth = [exact_forward(one.numpy(), points[frame].numpy()) for one in image]
            assert relative_error(found[frame].numpy(), np.stack(truth)) < 1e-9
    y = random_complex(2, 3, 40, seed=4)
    inner = torch.vdot(nufft(x, k).flatten(), y.flatten())
    torch.testing.assert_close(inner, torch.vdot(x.flatten(), nufft.adjoint(y, k).flatten()))


def test_module_with_maps_and_its_normal_operator():
    shape = (12, 15)
    k = radial(9, 30, torch.float64).flatten(1)
    maps, x = random_complex(4, *shape), random_complex(*shape, seed=1)
    weights = torch.rand(270, dtype=torch.float64)
    nufft = kronufft.NUFFT(shape, k, tolerance=1e-9)
    y = nufft(x, maps=maps)
    torch.testing.assert_close(y, nufft(x * maps))
    torch.testing.assert_close(nufft.adjoint(y, maps=maps), (nufft.adjoint(y) * maps.conj()).sum(0))
    normal = nufft.normal(weights=weights, maps=maps, dtype=torch.complex128)
    expected = nufft.adjoint(weights * y, maps=maps)
    assert relative_error(normal(x).numpy(), expected.numpy()) < 1e-7
    frames = torch.stack([k, -k])
    both = nufft(x.expand(2, 1, *shape), frames, maps=torch.stack([maps, maps.conj()]))
    torch.testing.assert_close(both[0, 0], y)
    torch.testing.assert_close(both[1, 0], nufft(x * maps.conj(), -k))


def test_module_follows_its_trajectory():
    shape = (8, 9)
    nufft = kronufft.NUFFT(shape, radial(5, 16).flatten(1))
    x = random_complex(*shape, dtype=torch.complex64)
    before = nufft(x)
    for other in (copy.deepcopy(nufft), pickle.loads(pickle.dumps(nufft))):
        torch.testing.assert_close(other(x), before)
    nufft.trajectory.neg_()
    torch.testing.assert_close(nufft(x), kronufft.NUFFT(shape, -radial(5, 16).flatten(1))(x))
    assert list(nufft.state_dict()) == ["trajectory"]
    assert nufft.double()(x.to(torch.complex128)).dtype == torch.complex128


def test_a_learned_trajectory_finds_its_way():
    shape = (8, 9)
    k, x = radial(5, 16).flatten(1), random_complex(*shape, dtype=torch.complex64)
    target = kronufft.NUFFT(shape)(x, k)
    learned = kronufft.NUFFT(shape, torch.nn.Parameter(k + 0.02))
    optimiser = torch.optim.Adam(learned.parameters(), lr=2e-3)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = (learned(x) - target).abs().square().mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.05 * losses[0]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: kronufft.NUFFT((8, 9))(torch.zeros(8, 9) + 0j), "no trajectory"),
        (lambda: kronufft.NUFFT((8, 9)).normal(), "no trajectory"),
        (
            lambda: kronufft.NUFFT((8, 9))(torch.zeros(3, 8, 9) + 0j, torch.zeros(2, 2, 5)),
            "needs 2 frames",
        ),
        (
            lambda: kronufft.NUFFT((8, 9), torch.zeros(2, 4, 5))(torch.zeros(8, 9) + 0j),
            r"\(2, 4, 5\).*join readouts and samples",
        ),
        (lambda: kronufft.density(torch.zeros(3, 5), (8, 9)), r"\(axis, sample\)"),
        (lambda: kronufft.density(torch.rand(2, 4, 5), (8, 9), method="radial"), "are other"),
        (lambda: kronufft.coil_maps(torch.zeros(3, 5), torch.zeros(2, 6), (8, 9)), "expected"),
        (
            lambda: kronufft.reconstruct(np.zeros((2, 5)), np.zeros((5, 2)), (8, 9)),
            r"\(2, 5\).*\(5, 2\).*expected \(\[frame,\] coil",
        ),
        (
            lambda: kronufft.reconstruct(
                np.ones((2, 5), "c8"), np.linspace(-0.5, 0.49, 10).reshape(2, 5), (8, 9)
            ),
            "looks like cycles_per_voxel.*, or multiply it by 6.28319",
        ),
        (
            lambda: kronufft.reconstruct(
                np.zeros((2, 5)), np.zeros((2, 5)), (8, 9), config={"sources": {}}
            ),
            "`config` has sources, which",
        ),
    ],
)
def test_what_does_not_fit_is_told(call, said):
    with pytest.raises(kronufft.KronufftError, match=said):
        call()


@pytest.fixture(scope="module")
def scan():
    """Shapes that all differ: three frames, two coils, eleven spokes of 48 samples."""
    from pipeline.mri.formats.coil_arrays import coils_around
    from pipeline.mri.formats.phantoms import fourier_transform, shepp_logan

    shape = (24, 20)
    k = radial(33, 48, torch.float64)
    coils = coils_around(shape, 2)
    points = k.flatten(1).T.numpy()
    values = fourier_transform(shepp_logan(2), shape, points, coils.shifts, coils.coefficients)
    return shape, k.float(), torch.from_numpy(values.reshape(2, 33, 48)).to(torch.complex64)


def test_one_call_takes_any_axes_and_gives_what_was_given(scan):
    shape, k, y = scan
    options = {"iterations": 5, "config": {"compute": {"device": "cpu", "threads": 1}}}
    image = kronufft.reconstruct(y, k, shape, **options)
    assert isinstance(image, torch.Tensor)
    assert image.shape == shape
    assert 0.5 < float(image.abs().max()) < 2
    framed = kronufft.reconstruct(
        y.unflatten(1, (3, 11)).movedim(1, 0).numpy(),
        k.unflatten(1, (3, 11)).movedim(1, 0).numpy(),
        shape,
        **options,
    )
    assert isinstance(framed, np.ndarray)
    assert framed.shape == (3, *shape)


def test_what_makes_an_image_doubtful_is_warned_of(scan):
    shape, k, y = scan
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        kronufft.reconstruct(y * torch.tensor([1, 0])[:, None, None], k, shape, iterations=5)
    assert any("coil 1" in str(one.message) for one in seen)


def test_estimate_of_what_is_not_there():
    plan = kronufft.estimate(
        (64, 48), coils=4, samples=9000, iterations=7, device_mb=2000, settings={"residual": 0.1}
    )
    assert 0 < plan.device_mb < 2000
    assert plan.host_mb > 0
    assert plan.seconds > 0
    assert len(plan.rows) == 1
    assert "The measurement itself" in str(plan)
    series = {"basis": "t1-recovery", "times": [0.1, 0.3, 0.9, 2.7]}
    few = kronufft.estimate((64, 48), frames=4, samples=900, settings={"series": series})
    assert "3 coefficients" in str(few)


def test_a_config_in_one_call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(
        "datasets: t.tsv\n"
        "sources:\n  scan:\n    shape: [12, 10]\n    simulation: "
        "{trajectory: golden-radial, readouts: 19, samples: 40, coils: 2}\n"
        "output: {ome_zarr: false, nifti: false}\n"
        "reconstructions: {cg: {algorithm: cg-sense, iterations: 2}}\n"
    )
    Path("t.tsv").write_text(
        "dataset\tkind\tformat\tsource\treconstruction\nscan\tmri\tsimulation\tshepp-logan\tcg\n"
    )
    made = kronufft.run("tiny.yaml")
    assert str(made) == "{('scan', 'cg'): ResultPaths(results/tiny/scan/cg)}"
    assert made["scan", "cg"].image.resolve() == tmp_path / "results/tiny/scan/cg/image.json"
    assert Path("results/tiny/report.html").is_file()
    with pytest.raises(kronufft.KronufftError, match="found no scam with"):
        kronufft.run("tiny.yaml", dataset="scam")


# Torchkbnufft's examples `Basic`, `Sparse Matrix`, `SENSE-NUFFT` and `Toeplitz`, ported.

SHAPE = (32, 32)


@pytest.fixture(scope="module")
def peer():
    with warnings.catch_warnings():  # of torch.jit, which it is written in
        warnings.simplefilter("ignore")
        return pytest.importorskip("torchkbnufft")


@pytest.fixture(scope="module")
def image():
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    disk = (y**2 + x**2 < 0.6) + 0.5 * ((y - 0.2) ** 2 + x**2 < 0.1)
    return torch.from_numpy(disk.astype(np.complex64))[None, None]


@pytest.fixture(scope="module")
def trajectory():
    return radial(51, 64).flatten(1)


@pytest.fixture(scope="module")
def maps():
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    maps = [np.exp(-((y - a) ** 2) - (x - b) ** 2 + 1j * a * x) for a in (-1, 1) for b in (0, 1)]
    return torch.from_numpy(np.stack(maps).astype(np.complex64))


def test_basic_beside_torchkbnufft(peer, image, trajectory):
    expected = peer.KbNufft(im_size=SHAPE)(image, trajectory)
    nufft = kronufft.NUFFT(SHAPE, trajectory)
    found = nufft(image)
    assert relative_error(found.numpy(), expected.numpy()) < 2e-3
    expected = peer.KbNufftAdjoint(im_size=SHAPE)(found, trajectory)
    assert relative_error(nufft.adjoint(found).numpy(), expected.numpy()) < 2e-3


def test_density_beside_torchkbnufft(peer, image, trajectory):
    nufft = kronufft.NUFFT(SHAPE, trajectory)
    theirs = peer.calc_density_compensation_function(trajectory, SHAPE)[0, 0].abs()
    errors = []
    for weights in (kronufft.density(trajectory, SHAPE), theirs):
        gridded = nufft.adjoint(weights * nufft(image[0, 0]))
        scale = torch.vdot(gridded.flatten(), image.flatten()) / gridded.norm() ** 2
        errors.append(float((scale * gridded - image[0, 0]).norm() / image.norm()))
    assert errors[0] < 1.05 * errors[1] < 0.3


def test_sense_beside_torchkbnufft(peer, image, trajectory, maps):
    expected = peer.KbNufft(im_size=SHAPE)(image, trajectory, smaps=maps[None])[0]
    nufft = kronufft.NUFFT(SHAPE, trajectory)
    found = nufft(image[0, 0], maps=maps)
    assert relative_error(found.numpy(), expected.numpy()) < 2e-3
    expected = peer.KbNufftAdjoint(im_size=SHAPE)(found[None], trajectory, smaps=maps[None])[0, 0]
    assert relative_error(nufft.adjoint(found, maps=maps).numpy(), expected.numpy()) < 2e-3


def test_toeplitz_beside_torchkbnufft(peer, image, trajectory, maps):
    weights = kronufft.density(trajectory, SHAPE)
    kernel = peer.calc_toeplitz_kernel(
        trajectory, im_size=SHAPE, weights=weights[None].to(torch.complex64)
    )
    expected = peer.ToepNufft()(image, kernel, smaps=maps[None])[0, 0]
    normal = kronufft.NUFFT(SHAPE, trajectory).normal(weights=weights, maps=maps)
    assert relative_error(normal(image[0, 0]).numpy(), expected.numpy()) < 3e-3
