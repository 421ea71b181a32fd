"""Sequences that pypulseq writes, against k-space and times by hand."""

from contextlib import contextmanager

import ismrmrd
import numpy as np
import pytest
from acquisitions import complex_normal
from mrd_files import header, readout, write_mrd

from pipeline.config.sources import IngestSettings, SourceSettings
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError, DataError, PlanError
from pipeline.formats.lazy import whole
from pipeline.mri.formats import arrays, mrd

pulseq = pytest.importorskip("pypulseq")

RNG = np.random.default_rng(7)
READOUTS, SAMPLES, VIEW, DWELL = 6, 20, 0.24, 1e-5
"""Readouts and samples of the sequence, field of view [m] and time between samples [s]."""


def turned(gradient, spoke, sign=1):
    """Returns a gradient along x, in the direction of a spoke."""
    x = pulseq.scale_grad(gradient, sign * np.cos(0.3 + 0.7 * spoke))
    y = pulseq.scale_grad(gradient, sign * np.sin(0.3 + 0.7 * spoke))
    y.channel = "y"
    return x, y


def spokes():
    """Returns k (y, x) [1/m] of all readouts: samples are in the middle of their dwell times."""
    along = (np.arange(SAMPLES) + 0.5 - SAMPLES / 2) / VIEW
    angle = 0.3 + 0.7 * np.arange(READOUTS)[:, None]
    return np.stack([np.sin(angle) * along, np.cos(angle) * along], axis=-1)


@pytest.fixture
def sequence(tmp_path):
    """Writes spokes of a gradient or a spin echo; returns the file, and times by hand [s]."""

    def write(*, noise=False, spin_echo=False, slab=False, **options):
        made, now, times = pulseq.Sequence(), 0.0, []
        pulse = pulseq.make_block_pulse(0.2, duration=2e-4, use="excitation")
        turn = pulseq.make_block_pulse(np.pi, duration=4e-4, use="refocusing")
        across = pulseq.make_trapezoid("x", flat_area=SAMPLES / VIEW, flat_time=SAMPLES * DWELL)
        back = pulseq.make_trapezoid("x", area=-across.area / 2, duration=1e-3)
        through = pulseq.make_trapezoid("z", area=5.0, duration=pulseq.calc_duration(across))
        adc = pulseq.make_adc(SAMPLES, duration=SAMPLES * DWELL, delay=across.rise_time)

        def play(*events):
            nonlocal now
            made.add_block(*events)
            now += pulseq.calc_duration(*events)
            return now - pulseq.calc_duration(*events)

        if noise:
            play(pulseq.make_adc(SAMPLES, duration=SAMPLES * DWELL))
        for spoke in range(READOUTS):
            excited = play(pulse) + pulse.delay + 1e-4
            origin = excited
            if spin_echo:
                play(*turned(back, spoke, -1))
                origin = 2 * (play(turn) + turn.delay + 2e-4) - excited
            else:
                play(*turned(back, spoke))
            play(pulseq.make_delay(1e-3 + 1e-4 * spoke))
            if noise:  # a slice that is not rephased: of image readouts k is the same along it
                play(pulseq.scale_grad(through, 0.4))
            began = play(*turned(across, spoke), *([through] if slab else []), adc)
            times.append(began + adc.delay + (np.arange(SAMPLES) + 0.5) * DWELL - origin)
        made.write(str(tmp_path / "spokes.seq"), **options)
        return tmp_path / "spokes.seq", np.array(times)

    return write


@pytest.fixture
def scan(tmp_path):
    def write(*before, count=READOUTS, samples=SAMPLES):
        readouts = [*before]
        readouts += [readout(complex_normal(RNG, (2, samples))) for _ in range(count)]
        xml = header((1, 24, 24), fov=(5, 1e3 * VIEW, 1e3 * VIEW))
        return write_mrd(tmp_path / f"scan{samples}.h5", xml, readouts)

    return write


@contextmanager
def opened(source, sequence, reader=mrd, budget_mb=800, details=(), **chosen):
    settings = IngestSettings(
        kind="mri",
        format=reader.__name__.rpartition(".")[2],
        source=str(source),
        details=SourceSettings(
            trajectory={"kind": "pulseq", "file": str(sequence), **chosen}, **dict(details)
        ),
    )
    assert sequence in settings.files()
    with reader.open_source(settings, "scan", Budget("scan", budget_mb)) as acquisition:
        yield acquisition


@pytest.mark.parametrize("spin_echo", [False, True])
@pytest.mark.parametrize("options", [{}, {"v141_compat": True}], ids=["1.5", "1.4"])
def test_k_space_and_times_are_those_of_gradients_and_pulses(sequence, scan, spin_echo, options):
    path, times = sequence(spin_echo=spin_echo, **options)
    with opened(scan(), path) as found:
        k, since = (whole(found.arrays[name]) for name in ("trajectory", "times"))
        assert found.dwell_time == pytest.approx(DWELL)
        # rad/voxel of 24 voxels over the field of view
        np.testing.assert_allclose(k[0], 2 * np.pi * spokes() * VIEW / 24, atol=1e-5)
        np.testing.assert_allclose(since[0], times, atol=1e-8)


def test_gradients_that_lag_behind_measure_an_earlier_place(sequence, scan):
    path, _ = sequence()
    with opened(scan(), path, delay=4e-6) as found:
        k = whole(found.arrays["trajectory"])[0]
    # On the flat top k grows by 1 / VIEW in each dwell time.
    late = spokes() - (spokes()[:, 1:2] - spokes()[:, :1]) * 4e-6 / DWELL
    np.testing.assert_allclose(k, 2 * np.pi * late * VIEW / 24, atol=1e-5)


def test_readouts_are_found_in_the_order_of_the_sequence(sequence, scan, tmp_path):
    """With what the file has before its image or not, frame after frame, or one for all."""
    path, times = sequence(noise=True)
    noise = readout(
        complex_normal(RNG, (2, SAMPLES)), flags=[ismrmrd.ACQ_IS_NOISE_MEASUREMENT], dwell=10
    )
    frames = {"readouts_per_frame": 3}
    with opened(scan(noise), path, details=frames) as found:
        assert found.arrays["trajectory"].shape == (2, 3, SAMPLES, 2)
        np.testing.assert_allclose(
            whole(found.arrays["times"]), times.reshape(2, 3, SAMPLES), atol=1e-8
        )
    path, times = sequence()
    kspace = complex_normal(RNG, (2, 2, READOUTS, SAMPLES))
    np.save(tmp_path / "kspace.npy", kspace)
    details = {
        "arrays": {"kspace": {"axes": ["frame", "coil", "readout", "sample"]}},
        "shape": (24, 24),
        "voxel_size": (VIEW / 24, VIEW / 24),
    }
    source = tmp_path / "kspace.npy"
    with opened(source, path, arrays, details=details, repeat=True) as found:
        assert found.arrays["times"].shape == (1, READOUTS, SAMPLES)
        k = whole(found.arrays["trajectory"])
        np.testing.assert_allclose(k[0], 2 * np.pi * spokes() * VIEW / 24, atol=1e-5)
    for changed, kind, message in (
        ({}, DataError, "has 6 readouts of 20 samples, but the file 12; name the sequence"),
        ({"details": details | {"voxel_size": None}}, ConfigError, "`voxel_size`"),
    ):
        with (
            pytest.raises(kind, match=message),
            opened(source, path, arrays, **{"details": details, **changed}),
        ):
            pass


# pypulseq leaves a file open that it cannot read.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_sequences_that_do_not_fit_are_refused(sequence, scan, tmp_path):
    path, _ = sequence(slab=True)
    source = scan()
    old, new, none, broken, short = (tmp_path / f"{name}.seq" for name in range(5))
    text = path.read_text()
    old.write_text(text.replace("minor 5", "minor 1"))
    new.write_text(text.replace("minor 5", "minor 9"))
    none.write_text("not a sequence")
    broken.write_text(text[: text.index("[TRAP]") + 40])
    short.write_text(text[: text.index("[SIGNATURE]")].rstrip().rpartition("\n")[0])
    for file, message in (
        (short, "is cut off in the shape"),
        (path, "move along gradient z, which is none of the image"),
        (old, r"is of Pulseq 1\.1; known are 1\.2 to 1\.5: write it again"),
        (new, r"is of Pulseq 1\.9; known are"),
        (none, r"no Pulseq sequence: it has no section \[VERSION\]"),
        (broken, "is not readable as a Pulseq sequence"),
    ):
        with pytest.raises(DataError, match=message), opened(source, file):
            pass
    with (
        pytest.raises(DataError, match="readouts of 20 samples, but those of the data have 8"),
        opened(scan(samples=8), path),
    ):
        pass
    with pytest.raises(PlanError, match=r"memory\.ingest_mb"), opened(source, path, budget_mb=160):
        pass


def test_a_sequence_of_the_first_files_is_read(tmp_path, scan):
    """Version 1.2: durations are those of events, and a delay is one."""
    old = tmp_path / "old.seq"
    area = SAMPLES * DWELL
    text = (
        "[VERSION]\nmajor 1\nminor 2\nrevision 1\n\n[BLOCKS]\n1 0 1 0 0 0 0\n2 1 0 0 0 0 0\n"
        "3 0 0 1 0 0 1\n\n[RF]\n1 250 1 2 0 0 0\n\n[TRAP]\n"
        f"1 {1 / VIEW / DWELL} 10 {area * 1e6:.0f} 10 0\n\n[ADC]\n"
        f"1 {SAMPLES} {DWELL * 1e9:.0f} 10 0 0\n"
        "\n[DELAYS]\n1 500\n\n[SHAPES]\nshape_id 1\nnum_samples 100\n1\n0\n0\n97\n\n"
        "shape_id 2\nnum_samples 100\n0\n0\n98"
    )
    old.write_text(text)
    source = scan(count=1)
    with opened(source, old, details={"shape": (64, 64)}) as found:
        k = whole(found.arrays["trajectory"])[0, 0] * 64 / (2 * np.pi)
        since = whole(found.arrays["times"])[0, 0]
    # The ramp of 10 us is half a sample.
    np.testing.assert_allclose(k[:, 1], np.arange(SAMPLES) + 1, atol=1e-4)
    np.testing.assert_allclose(
        since, 50e-6 + 510e-6 + (np.arange(SAMPLES) + 0.5) * DWELL, atol=1e-8
    )
