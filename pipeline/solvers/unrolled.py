"""Proximal gradients of a few layers whose steps, thresholds and regulariser are learned."""

import math
from collections.abc import Callable

import torch
from torch.utils.checkpoint import checkpoint

from pipeline.errors import ConfigError
from pipeline.solvers.normal import NormalEquations
from pipeline.solvers.power import largest_eigenvalue
from pipeline.solvers.problems import for_images, problem_axes, quotient
from pipeline.solvers.proximal import soft_threshold

_CONVOLUTIONS: dict[int, Callable[..., torch.Tensor]] = {
    1: torch.nn.functional.conv1d,
    2: torch.nn.functional.conv2d,
    3: torch.nn.functional.conv3d,
}


class ComplexConvolution(torch.nn.Module):
    """A complex convolution without bias, as a single real one: half the time of torch's own.

    Filters have an odd number of voxels, `kernel_size`, along each of 1 to 3 image axes.
    """

    def __init__(
        self, outputs: int, inputs: int, image_axes: int, kernel_size: int, dtype: torch.dtype
    ) -> None:
        super().__init__()
        scale = 1 / math.sqrt(inputs * kernel_size**image_axes)
        shape = (outputs, inputs, *(kernel_size,) * image_axes)
        self.weight = torch.nn.Parameter(scale * torch.randn(shape, dtype=dtype))
        self._convolve = _CONVOLUTIONS[image_axes]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve ``(batch, inputs, *image)``; outside of the image is zero."""
        real, imaginary = self.weight.real, self.weight.imag
        weight = torch.cat(
            [torch.cat([real, -imaginary], dim=1), torch.cat([imaginary, real], dim=1)]
        )
        parts = self._convolve(torch.cat([x.real, x.imag], dim=1), weight, padding="same")
        return torch.complex(*parts.chunk(2, dim=1))


class ConvolutionalRegularizer(torch.nn.Module):
    """A small complex network ``x -> C_3 soft(C_2 soft(C_1 x))`` that is added to an image.

    Without biases, and with soft thresholds for activations, it commutes with a phase that is the
    same everywhere, which no measurement fixes. Its parameters are those of `ComplexConvolution`.
    """

    def __init__(
        self, image_axes: int, *, channels: int, kernel_size: int, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.analysis = ComplexConvolution(channels, 1, image_axes, kernel_size, dtype)
        self.middle = ComplexConvolution(channels, channels, image_axes, kernel_size, dtype)
        self.synthesis = ComplexConvolution(1, channels, image_axes, kernel_size, dtype)
        # Begins as nothing, so that an untrained network is plain proximal gradients.
        torch.nn.init.zeros_(self.synthesis.weight)
        # softplus(-4) = 0.02 of the scene's scale
        self.thresholds = torch.nn.Parameter(torch.full((2, channels), -4.0, dtype=dtype.to_real()))
        self._spread = (channels, *(1,) * image_axes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the correction of images ``(problem, *image)``."""
        first, second = torch.nn.functional.softplus(self.thresholds).reshape(2, *self._spread)
        features = soft_threshold(self.analysis(x.unsqueeze(1)), first)
        features = soft_threshold(self.middle(features), second)
        correction: torch.Tensor = self.synthesis(features).squeeze(1)
        return correction


class ProximalGradientLayer(torch.nn.Module):
    """``x -> soft(v + R(v)),  v = x - step (G x - b)`` with step, threshold and ``R`` learned.

    Without `channels` there is no `ConvolutionalRegularizer` ``R``. The first `step` is relative to
    the reciprocal of the largest eigenvalue, the first `threshold` to the scene's scale.
    """

    def __init__(
        self,
        image_axes: int,
        *,
        channels: int,
        kernel_size: int,
        step: float,
        threshold: float,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        real = dtype.to_real()
        self.step = torch.nn.Parameter(torch.tensor(_softplus_inverse(step), dtype=real))
        self.threshold = torch.nn.Parameter(torch.tensor(_softplus_inverse(threshold), dtype=real))
        self.regularizer = (
            ConvolutionalRegularizer(
                image_axes, channels=channels, kernel_size=kernel_size, dtype=dtype
            )
            if channels
            else None
        )
        self.image_axes = image_axes

    def forward(self, x: torch.Tensor, normal: NormalEquations, step: torch.Tensor) -> torch.Tensor:
        """Do one iteration on scaled images ``(*problems, *image)``."""
        positive = torch.nn.functional.softplus
        x = x - (positive(self.step) * step) * (normal.gram(x) - normal.b)
        if self.regularizer is not None:
            flat = x.reshape(-1, *x.shape[x.ndim - self.image_axes :])
            x = x + self.regularizer(flat).reshape(x.shape)
        return soft_threshold(x, positive(self.threshold))


class UnrolledProximalGradient(torch.nn.Module):
    """An unrolled proximal gradient network for MRI and RF imaging [1]_, [2]_.

    Untrained it is the iterative soft-threshold algorithm. It is blind to the scale of the data:
    scenes are brought to the size of one before the first layer and back after the last.

    Parameters
    ----------
    layers
        Number of iterations.
    image_axes
        Number of trailing axes that make one image, 1 to 3; those before are a batch.
    channels
        Filters of the convolutional regulariser of each layer; 0 for none.
    kernel_size
        Voxels of a filter along each axis, odd.
    step, threshold
        Where training begins: relative to the reciprocal of the largest eigenvalue, and to the
        scene's scale.
    checkpointing
        Keep only the image between layers and compute each layer again for its gradient [3]_. One
        evaluation of ``G`` more a layer, and memory that hardly grows with the layers.
    dtype
        complex64 or complex128.

    Attributes
    ----------
    settings
        The arguments, from which, with a `state_dict`, the network can be made again.

    References
    ----------
    .. [1] K. Gregor, Y. LeCun, "Learning fast approximations of sparse coding", Proc. ICML,
       399-406 (2010).
    .. [2] M. Mardani, Q. Sun, D. Donoho, V. Papyan, H. Monajemi, S. Vasanawala, J. Pauly, "Neural
       proximal gradient descent for compressive imaging", Proc. NeurIPS (2018).
    .. [3] T. Chen, B. Xu, C. Zhang, C. Guestrin, "Training deep nets with sublinear memory cost",
       arXiv:1604.06174 (2016).
    """

    def __init__(
        self,
        layers: int,
        *,
        image_axes: int,
        channels: int = 8,
        kernel_size: int = 3,
        step: float = 1.0,
        threshold: float = 0.01,
        checkpointing: bool = True,
        dtype: torch.dtype = torch.complex64,
    ) -> None:
        super().__init__()
        if (
            layers < 1
            or image_axes not in _CONVOLUTIONS
            or channels < 0
            or kernel_size % 2 == 0
            or not (step > 0 and threshold > 0)
        ):
            raise ConfigError(
                f"unrolled network: found layers {layers}, image_axes {image_axes}, channels "
                f"{channels}, kernel_size {kernel_size}, step {step} and threshold {threshold}; "
                "there must be a layer, 1 to 3 axes, 0 or more channels, an odd kernel, and step "
                "and threshold must be positive."
            )
        self.settings = {
            "layers": layers,
            "image_axes": image_axes,
            "channels": channels,
            "kernel_size": kernel_size,
            "step": step,
            "threshold": threshold,
            "checkpointing": checkpointing,
        }
        self.image_axes, self.checkpointing = image_axes, checkpointing
        self.layers = torch.nn.ModuleList(
            ProximalGradientLayer(
                image_axes,
                channels=channels,
                kernel_size=kernel_size,
                step=step,
                threshold=threshold,
                dtype=dtype,
            )
            for _ in range(layers)
        )

    def forward(
        self, normal: NormalEquations, lipschitz: float | torch.Tensor | None = None
    ) -> torch.Tensor:
        """Reconstruct.

        Parameters
        ----------
        normal
            ``G``, differentiable, and ``b`` of shape ``(*problems, *image)``.
        lipschitz
            A number no smaller than the largest eigenvalue of ``G``, or one for each problem;
            `largest_eigenvalue` if `None`. Give it in training, where ``G`` stays the same.

        Returns
        -------
        Tensor
            Of the shape of ``b``; zero where ``b`` is.
        """
        b = normal.b
        problems = problem_axes(b, self.image_axes, "unrolled network")
        if lipschitz is None:
            with torch.no_grad():
                lipschitz = largest_eigenvalue(normal.gram, b, image_axes=self.image_axes)
        bound = torch.as_tensor(lipschitz, dtype=torch.float64, device=b.device).expand(problems)
        step = quotient(1, bound)
        axes = tuple(range(-self.image_axes, 0))
        size = b.detach().abs().amax(dim=axes).double() * step
        size = torch.where(size > 0, size, 1.0)
        scaled = NormalEquations(b * for_images(1 / size, b, self.image_axes), normal.gram)
        steps = for_images(step, b, self.image_axes)
        x = torch.zeros_like(b)
        for layer in self.layers:
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(
                    layer, x, scaled, steps, use_reentrant=False, preserve_rng_state=False
                )
            else:
                x = layer(x, scaled, steps)
        return x * for_images(size, b, self.image_axes)


def _softplus_inverse(value: float) -> float:
    return math.log(math.expm1(value))
