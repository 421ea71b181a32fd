import pytest

from pipeline.report.wording import duration, length, memory


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.042, "0.04 s"), (12.34, "12.3 s"), (200, "3 min 20 s"), (59.99, "60.0 s"),
     (7500, "2 h 05 min")],
)  # fmt: skip
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_memory_and_length():
    assert [memory(812.4), memory(4120)] == ["812 MB", "4.1 GB"]
    assert [length(0.02), length(5e-4), length(1.5)] == ["20 mm", "500 µm", "1.5 m"]
