"""Relative errors: of the magnitude after one real factor, and after one complex factor."""

from pipeline.metrics.comparison import Column, Comparison, Metric


def _errors(compared: Comparison) -> dict[str, float]:
    """Return ``|| s |a| - |r| || / || r ||`` over real s, and of ``s a - r`` over complex s."""
    sums = compared.sums
    return {
        "nrmse": sums.relative_error(sums.ar),
        "nrmse_complex": sums.relative_error(abs(sums.inner)),
    }


METRIC = Metric(
    {
        "nrmse": Column(
            "image: relative error of the magnitude after one real factor", "NRMSE", ".4f"
        ),
        "nrmse_complex": Column(
            "image: relative error after one complex factor", "complex NRMSE", ".4f"
        ),
    },
    _errors,
)
