"""The published RF scenes, from the settings of their examples to the rows of the metrics table."""

import pytest
from examples import Example

from pipeline.metrics.tables import read_table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def metrics(example, dataset):
    """Return the rows of each reconstruction."""
    made = example.run(dataset, until="measure")
    return {name: read_table(files.metrics) for name, files in made.items()}


RANGE, CROSS_RANGE = (0.2551, -13.26, -10.15), (0.2906, -13.28, -10.32)


def test_gorham_moore(tmp_path):
    """Published: back-projection's amplitudes, resolution and side lobes within 3 m.

    Of three points the far side lobes of the others come into each one's; a single one is within
    the figures. ISLR of all three by exact back-projection, whose cuts end where the image does.
    """
    example = Example("gorham-moore", tmp_path)
    tables = {name: metrics(example, name)["matched-filter"] for name in example.datasets}
    single = tables["gorham-moore-single"]
    single = single[single["kind"] == "target"].set_index("direction")
    for direction, (width, pslr, islr) in {"range": RANGE, "cross range": CROSS_RANGE}.items():
        row = single.loc[direction]
        assert row["width_m"] == pytest.approx(width, rel=0.003)
        assert row["expected_width_m"] == pytest.approx(width, rel=0.003)
        assert row["pslr_db"] == pytest.approx(pslr, abs=0.02)
        assert row["islr_db"] == pytest.approx(islr, abs=0.02)
        assert row[["extent_before_m", "extent_after_m"]].tolist() == pytest.approx(
            [3, 3], abs=0.01
        )
    table = tables["gorham-moore"]
    image = table[table["kind"] == "image"].iloc[0]
    assert (image["detected"], image["missed"]) == (3, 0)
    points = table[table["kind"] == "target"]
    exact = {"range": (-10.18, -10.13, -10.48), "cross range": (-10.55, -10.58, -10.55)}
    for direction, (width, pslr, _) in {"range": RANGE, "cross range": CROSS_RANGE}.items():
        rows = points[points["direction"] == direction]
        assert rows["target"].tolist() == [0, 1, 2]
        assert rows["magnitude"].tolist() == pytest.approx([0.998] * 3, abs=0.002)
        assert rows["displacement_m"].max() < 0.005
        assert rows["width_m"].tolist() == pytest.approx([width] * 3, rel=0.005)
        assert rows["pslr_db"].tolist() == pytest.approx([pslr] * 3, abs=0.06)
        assert rows["islr_db"].tolist() == pytest.approx(exact[direction], abs=0.03)


# Debiased L1 and OMP find the true support and are least squares on it, whose error scatters with
# the noise: -41.7 dB on average over 24 seeds, with a deviation of 0.6 dB.
ERRORS = {
    "matched-filter": (2.45, 2.95),
    "tikhonov": (-5.0, -4.1),
    "sparse": (-32.3, -31.5),
    "sparse-debiased": (-43.9, -41.0),
    "admm": (-43.9, -41.0),
    "omp": (-43.9, -41.0),
}


def test_rf6(tmp_path):
    """Two of five draws of forty points: published errors, all points found and no others."""
    example = Example("rf6", tmp_path)
    assert len(example.datasets) == 5
    for name in list(example.datasets)[:2]:
        for reconstruction, table in metrics(example, name).items():
            image = table[table["kind"] == "image"].iloc[0]
            lowest, highest = ERRORS[reconstruction]
            who = f"{name}, {reconstruction}"
            assert lowest <= image["nmse_db"] <= highest, who
            if reconstruction in ("sparse-debiased", "admm", "omp"):
                counts = image[["targets", "detected", "missed", "false_alarms"]].tolist()
                assert counts == [40, 40, 0, 0], who
                assert image["detector"] == "support"
