"""Linear operators, what they compose to, and their gradients.

Every operator maps complex tensors of shape ``(..., *domain)`` to ``(..., *codomain)``; the leading
axes are a batch. Subclasses compute, this module checks shapes and differentiates: the backward of
``forward`` is ``adjoint`` and the other way round, so gradients of any order exist and
``torch.utils.checkpoint`` needs nothing else. Tensors that an operator is made of, such as a
trajectory, may ask for gradients too: they are its `LinearOperator.parameters`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import ShapeError

Shape = tuple[int, ...]


class LinearOperator(ABC):
    """A linear map between tensors, with its adjoint.

    Parameters
    ----------
    domain, codomain
        Trailing shape of inputs and of outputs; any batch axes stand before them.
    dtype
        Complex dtype that the operator works in; `None` where it takes any.
    device
        Device of the operator's own data; `None` where it has none.

    Notes
    -----
    Subclasses implement `_forward` and `_adjoint`, which may rely on checked shapes and must not
    modify their argument; those with `parameters` also `_parameter_gradients`.
    """

    parameters: tuple[Tensor, ...] = ()
    """What the operator is made of and gradients flow to."""

    def __init__(
        self,
        domain: Sequence[int],
        codomain: Sequence[int],
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.domain: Shape = tuple(int(size) for size in domain)
        self.codomain: Shape = tuple(int(size) for size in codomain)
        self.dtype = dtype
        self.device = device

    @abstractmethod
    def _forward(self, x: Tensor) -> Tensor:
        """Apply the operator to ``(..., *domain)``."""

    @abstractmethod
    def _adjoint(self, y: Tensor) -> Tensor:
        """Apply the conjugate transpose to ``(..., *codomain)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the operator: ``(..., *domain)`` to ``(..., *codomain)``.

        Raises
        ------
        ShapeError
            If the trailing axes, the dtype or the device are not the operator's.
        """
        self._check(x, self.domain, "forward")
        return _Application.apply(x, self, False, *self.parameters)  # type: ignore[no-any-return, no-untyped-call]

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the conjugate transpose: ``(..., *codomain)`` to ``(..., *domain)``."""
        self._check(y, self.codomain, "adjoint")
        return _Application.apply(y, self, True, *self.parameters)  # type: ignore[no-any-return, no-untyped-call]

    def _parameter_gradients(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients of ``Re(y^H A x)`` by each of `parameters`, differentiable."""
        raise NotImplementedError

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the operator."""
        return self.forward(x)

    @property
    def H(self) -> LinearOperator:  # noqa: N802 (the field's name for the adjoint)
        """The adjoint as an operator."""
        return Adjoint(self)

    def __matmul__(self, inner: LinearOperator) -> LinearOperator:
        return Composition(self, inner)

    def __add__(self, other: LinearOperator) -> LinearOperator:
        return Sum(self, other)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.domain} -> {self.codomain})"

    @property
    def itemsize(self) -> int:
        """Bytes of one complex number that the operator works on."""
        return (self.dtype or torch.complex64).itemsize

    def _check(self, x: Tensor, expected: Shape, direction: str) -> None:
        name = f"{type(self).__name__}.{direction}"
        if x.ndim < len(expected) or tuple(x.shape[x.ndim - len(expected) :]) != expected:
            raise ShapeError(
                f"{name}: found shape {tuple(x.shape)}, but its last axes must be {expected}; "
                "batch axes stand before them."
            )
        if not x.is_complex() or (self.dtype is not None and x.dtype != self.dtype):
            raise ShapeError(
                f"{name}: found {x.dtype}, but it needs {self.dtype or 'a complex dtype'}; "
                "convert the input or build the operator with its dtype."
            )
        if self.device is not None and x.device != self.device:
            raise ShapeError(
                f"{name}: the input is on {x.device}, but the operator is on {self.device}; "
                "move one of them."
            )


class _Application(torch.autograd.Function):
    """One application of an operator, differentiable in its argument and the operator's parameters.

    For complex tensors torch's gradient of a real loss is the conjugate cogradient, whose chain
    rule through ``y = A x`` is exactly ``A^H``. A change of the parameters changes the loss by
    ``Re(g^H dA x)``, or ``Re(g^H dA^H x) = Re(x^H dA g)`` through the adjoint.
    """

    @staticmethod
    def forward(x: Tensor, operator: LinearOperator, adjoint: bool, *parameters: Tensor) -> Tensor:
        return operator._adjoint(x) if adjoint else operator._forward(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.operator, ctx.adjoint, *parameters = inputs
        if parameters:
            ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        operator: LinearOperator = ctx.operator
        found: tuple[Tensor, ...] = ()
        if operator.parameters:
            (x,) = ctx.saved_tensors
            pair = (gradient, x) if ctx.adjoint else (x, gradient)
            found = operator._parameter_gradients(*pair)
        back = _Application.apply(gradient, operator, not ctx.adjoint, *operator.parameters)  # type: ignore[no-untyped-call]
        return back, None, None, *found

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None, __: None, *parameters: Tensor | None) -> Tensor:
        if any(parameter is not None for parameter in parameters):
            raise NotImplementedError("forward-mode derivatives by an operator's parameters")
        return _Application.apply(tangent, ctx.operator, ctx.adjoint)  # type: ignore[no-any-return, no-untyped-call]


class Adjoint(LinearOperator):
    """The conjugate transpose of an operator, as an operator."""

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__(
            operator.codomain, operator.domain, dtype=operator.dtype, device=operator.device
        )
        self.operator, self.parameters = operator, operator.parameters

    def _parameter_gradients(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return self.operator._parameter_gradients(y, x)

    def _forward(self, x: Tensor) -> Tensor:
        return self.operator._adjoint(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.operator._forward(y)

    @property
    def H(self) -> LinearOperator:  # noqa: N802
        """The operator itself."""
        return self.operator


class Composition(LinearOperator):
    """``outer @ inner``.

    Where one of the two has fewer axes, the axes that it lacks are its batch: maps of shape
    ``(coil, *shape)`` compose with a NUFFT of domain ``(frame, coil, *shape)``.
    """

    def __init__(self, outer: LinearOperator, inner: LinearOperator) -> None:
        extra = len(outer.domain) - len(inner.codomain)
        between = (outer.domain if extra >= 0 else inner.codomain)[abs(extra) :]
        shorter = inner.codomain if extra >= 0 else outer.domain
        if between != shorter:
            raise ShapeError(
                f"cannot compose {outer!r} with {inner!r}: {inner.codomain} is not the end of "
                f"{outer.domain}, nor the other way round."
            )
        super().__init__(
            outer.domain[: max(extra, 0)] + inner.domain,
            inner.codomain[: max(-extra, 0)] + outer.codomain,
            dtype=inner.dtype or outer.dtype,
            device=inner.device or outer.device,
        )
        self.outer, self.inner = outer, inner
        self.parameters = (*outer.parameters, *inner.parameters)

    def _parameter_gradients(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        outer, inner = self.outer, self.inner
        return (
            *(outer._parameter_gradients(inner(x), y) if outer.parameters else ()),
            *(inner._parameter_gradients(x, outer.adjoint(y)) if inner.parameters else ()),
        )

    def _forward(self, x: Tensor) -> Tensor:
        return self.outer._forward(self.inner._forward(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.inner._adjoint(self.outer._adjoint(y))


class Sum(LinearOperator):
    """Sum of two operators between the same spaces."""

    def __init__(self, one: LinearOperator, other: LinearOperator) -> None:
        if (other.domain, other.codomain) != (one.domain, one.codomain):
            raise ShapeError(f"cannot add {one!r} and {other!r}: their shapes differ.")
        super().__init__(one.domain, one.codomain, dtype=one.dtype, device=one.device)
        self.one, self.other = one, other
        self.parameters = (*one.parameters, *other.parameters)

    def _parameter_gradients(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        parts = [part for part in (self.one, self.other) if part.parameters]
        return tuple(found for part in parts for found in part._parameter_gradients(x, y))

    def _forward(self, x: Tensor) -> Tensor:
        return self.one._forward(x) + self.other._forward(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.one._adjoint(y) + self.other._adjoint(y)


class Diagonal(LinearOperator):
    """Multiply element by element.

    Parameters
    ----------
    values
        Real or complex tensor that broadcasts to `domain`: weights of shape ``(frame, 1, sample)``
        serve a domain ``(frame, coil, sample)``. Dimensionless.
    domain
        Shape of inputs and outputs; `values`' own shape if not given.
    """

    def __init__(self, values: Tensor, domain: Sequence[int] | None = None) -> None:
        shape = tuple(values.shape if domain is None else domain)
        sizes = zip(reversed(values.shape), reversed(shape), strict=False)
        if values.ndim > len(shape) or any(size not in (1, whole) for size, whole in sizes):
            raise ShapeError(
                f"Diagonal: values of shape {tuple(values.shape)} do not broadcast to {shape}."
            )
        super().__init__(shape, shape, dtype=values.dtype.to_complex(), device=values.device)
        self.values = values

    def _forward(self, x: Tensor) -> Tensor:
        return x * self.values

    def _adjoint(self, y: Tensor) -> Tensor:
        return y * self.values.conj()
