"""Independent problems side by side: the axes that stand before those of one image."""

import torch

from pipeline.errors import ConfigError
from pipeline.operators.inner import inner_product


def problem_axes(b: torch.Tensor, image_axes: int, solver: str) -> tuple[int, ...]:
    """Return the leading axes of `b`, those that count independent problems.

    Raises
    ------
    ConfigError
        If `b` has fewer axes than one image; begins with the name of the solver.
    """
    if not 0 < image_axes <= b.ndim:
        raise ConfigError(
            f"{solver}: found image_axes {image_axes}, but b has {b.ndim} axes; "
            "give the number of trailing axes that make one image."
        )
    return tuple(b.shape[: b.ndim - image_axes])


def for_images(factors: torch.Tensor, images: torch.Tensor, image_axes: int) -> torch.Tensor:
    """Shape one real number for each problem so that it multiplies images of their precision."""
    shaped = factors.reshape(*factors.shape, *(1,) * image_axes)
    return shaped.to(device=images.device, dtype=images.real.dtype)


def norm(x: torch.Tensor, image_axes: int) -> torch.Tensor:
    """Return the l2 norm of each image, float64 on the device of `x`."""
    return inner_product(x, x, image_axes).sqrt()


def quotient(above: float | torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    """Return ``above / below``; zero where `below` is not positive."""
    return torch.where(below > 0, above / torch.where(below > 0, below, 1.0), 0.0)


def positive_settings(solver: str, **settings: float) -> None:
    """Refuse settings that are negative or not a number, naming all of them."""
    if not all(value >= 0 for value in settings.values()):
        found = ", ".join(f"{name} {value}" for name, value in settings.items())
        raise ConfigError(f"{solver}: found {found}; none may be negative.")
