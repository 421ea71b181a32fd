import math
from itertools import combinations

import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.rf.measures.detection import (
    constant_false_alarm_rate,
    local_maxima,
    score_detections,
)


def noise(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


@pytest.mark.parametrize("shape", [(400, 503), (61, 50, 70), (200_000,)])
@pytest.mark.parametrize("probability", [1e-2, 1e-3])
def test_false_alarm_rate_in_noise(shape, probability):
    alarms = constant_false_alarm_rate(7 * noise(shape), probability, guard=1, training=3)
    expected = probability * alarms.size
    assert abs(alarms.sum() - expected) < 5 * math.sqrt(expected)


def test_threshold_follows_the_noise():
    """A target 15 dB above its surroundings, in a corner a thousand times quieter."""
    image = noise((101, 80))
    image[50:] *= 1e3
    image[20, 30] = 12
    image[70, 30] = 12
    alarms = constant_false_alarm_rate(image, 1e-4)
    assert alarms[20, 30]
    assert not alarms[70, 30]
    np.testing.assert_array_equal(alarms, constant_false_alarm_rate(np.abs(image), 1e-4))


def test_guard_cells_keep_a_wide_target_out_of_its_own_threshold():
    image = noise((60, 60), seed=1)
    image[28:33, 28:33] = 20
    assert constant_false_alarm_rate(image, 1e-4, guard=4, training=4)[30, 30]
    assert not constant_false_alarm_rate(image, 1e-4, guard=0, training=2)[30, 30]


@pytest.mark.parametrize(
    "arguments", [{"probability": 0}, {"probability": 0.1, "training": 0}, {"guard": -1}]
)
def test_bad_cells(arguments):
    with pytest.raises(DataError, match="at least one training cell"):
        constant_false_alarm_rate(noise((9, 9)), **{"probability": 0.1, **arguments})
    with pytest.raises(DataError, match="without a training cell beyond 9 guard"):
        constant_false_alarm_rate(noise((5, 5)), 0.1, guard=9)


def test_local_maxima_by_hand():
    image = np.array(
        [
            [9, 1, 1, 1, 4],
            [1, 1, 1, 1, 4],
            [1, 1, 6, 1, 1],
            [1, 7, 1, 1, 1],
            [0, 0, 0, 0, 2],
        ]
    ) * np.exp(0.3j)
    np.testing.assert_array_equal(local_maxima(image, 1.5), [[0, 0], [3, 1], [0, 4], [4, 4]])
    np.testing.assert_array_equal(local_maxima(image, 5.0), [[0, 0], [3, 1]])
    np.testing.assert_array_equal(local_maxima(image, np.abs(image) < 5)[0], [0, 4])
    assert local_maxima(np.zeros((4, 4)), 0.0).shape == (0, 2)


def test_score_by_hand():
    targets = [[10, 10], [20, 20.5], [30, 30]]
    detections = [[11, 10], [20, 20], [21, 21], [5, 5]]
    score = score_detections(detections, targets, tolerance=1.5)
    assert (score.targets, score.detected, score.false_alarms) == (3, 2, 2)


def test_one_detection_explains_one_target():
    """Both targets reach the detection between them, but only one has another."""
    score = score_detections([[0, 1], [0, 3]], [[0, 0], [0, 2]], tolerance=1)
    assert (score.detected, score.false_alarms) == (2, 0)


@pytest.mark.parametrize("seed", range(5))
def test_matches_as_many_as_possible(seed):
    rng = np.random.default_rng(seed)
    found, true = rng.uniform(0, 4, (5, 2)), rng.uniform(0, 4, (4, 2))
    near = np.linalg.norm(true[:, None] - found, axis=-1) <= 1
    pairs = np.argwhere(near)
    best = max(
        (
            count
            for count in range(1, 5)
            for chosen in combinations(pairs.tolist(), count)
            if len({t for t, _ in chosen}) == len({d for _, d in chosen}) == count
        ),
        default=0,
    )
    assert score_detections(found, true, tolerance=1).detected == best


def test_nothing_to_score():
    none = np.zeros((0, 2))
    score = score_detections(none, [[1, 1]], tolerance=1)
    assert (score.detected, score.false_alarms) == (0, 0)
    score = score_detections([[1, 1]], none, tolerance=1)
    assert (score.targets, score.detected, score.false_alarms) == (0, 0, 1)
    with pytest.raises(DataError, match="one index per image axis"):
        score_detections([[1, 1]], [[1, 1, 1]], tolerance=1)
