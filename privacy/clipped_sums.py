"""The sum of patients' clipped gradients, without a gradient of each patient in memory.

Each patient's gradient takes as much room as all weights, so those of a large sample do not fit.
The gradient of a linear map is a sum of outer products, of what went in and what came back; its
norm follows from their inner products, and the clipped sum over patients is one product of two
matrices (book-keeping: Bu et al. 2023, arXiv:2210.00038). Opacus 1.6 has the norms (ghost clipping)
but for patients with one dimension of rows at most, in single precision, and with a second
backward pass whose rounding the norms do not know; its hooks serve here.

Guarantees:
    Unit: one patient. Neighbours: one patient added or removed. Sensitivity: the sum changes by at
    most the clip in L2 norm over all trained weights, where no patient's loss depends on another.
    Norm and sum come from the same numbers, so that rounding on the way back to a layer is in both.
    Sums over rows and over patients are taken in double precision and rounded once: in single
    precision, rounding is relative to rows that may cancel in the norm, and a neighbour with more
    rows changes it for everybody. A patient's norm counts as 2^-24 of the rows' lengths at least:
    inner products know it no better, and what rounding of doubles leaves in the sum is then below
    2^-28 of the clip for each patient.
    A patient whose gradient is not finite, or too long for a share of it to be a normal number,
    counts as zero: no weights can make one patient spoil the sum.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from opacus.grad_sample import GradSampleModule
from torch import Tensor, nn

from privacy.mechanism import Losses

LONGEST = 1e30
"""A longer gradient counts as zero: what a clip of 0.001 leaves of it is still a normal number."""

ROUNDING = 2.0**-24
"""Of the lengths of a patient's rows. Their products in double precision are good to about 2^-53 of
them, and a norm from inner products, which are squares, to the root of that."""

ROOM = 2**25
"""Most numbers in one piece of work on norms."""

logging.getLogger("opacus").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Rows:
    """A patient's gradient as the sum of outer products `errors^T inputs`.

    Attributes:
        inputs: What went into a linear map, (P, R, I).
        errors: What came back, (P, R, O).
    """

    inputs: Tensor
    errors: Tensor

    def norms(self) -> Tensor:
        """Each patient's norm, (P,) float64; at least `ROUNDING` of the rows' lengths."""
        each, wide, high = self.inputs.shape[1], self.inputs.shape[2], self.errors.shape[2]
        # Whichever is smaller: the rows' inner products, or the gradient itself, a few at a time.
        inner = each * each < wide * high
        most = max(1, ROOM // (each * max(each, wide, high) if inner else wide * high))
        norm = _norms_of_inner if inner else _norms_of_sum
        pieces = zip(torch.split(self.inputs, most), torch.split(self.errors, most), strict=True)
        return torch.cat([torch.maximum(norm(a, b), ROUNDING * _lengths(a, b)) for a, b in pieces])

    def sum(self, left: Tensor) -> Tensor:
        """The sum over patients of their gradients times `left`, (O, I) float64.

        Args:
            left: (P,) float64; where it is 0, the patient's rows are not read.
        """
        read = left > 0
        if not read.all():
            return Rows(self.inputs[read], self.errors[read]).sum(left[read])
        errors = (self.errors.double() * left[:, None, None]).flatten(0, 1)
        total: Tensor = errors.T @ self.inputs.double().flatten(0, 1)
        return total


@dataclass(frozen=True, slots=True)
class Whole:
    """Each patient's gradient itself, (P, ...): of biases, and of layers that are not linear."""

    gradients: Tensor

    def norms(self) -> Tensor:
        """Each patient's norm, (P,) float64."""
        return _length(self.gradients.flatten(1), dim=1)

    def sum(self, left: Tensor) -> Tensor:
        """As `Rows.sum`."""
        read = left > 0
        total: Tensor = torch.tensordot(left[read], self.gradients[read].double(), dims=1)
        return total


def _norms_of_inner(inputs: Tensor, errors: Tensor) -> Tensor:
    # In double precision: rows that nearly cancel leave little of their inner products.
    inputs, errors = inputs.double(), errors.double()
    inner = torch.bmm(inputs, inputs.mT) * torch.bmm(errors, errors.mT)
    return inner.sum((1, 2)).clamp(min=0).sqrt()


def _norms_of_sum(inputs: Tensor, errors: Tensor) -> Tensor:
    return _length(torch.bmm(errors.double().mT, inputs.double()).flatten(1), dim=1)


def _lengths(inputs: Tensor, errors: Tensor) -> Tensor:
    """The rows' lengths, added up: what the norm would be if they all went one way."""
    return (_length(inputs, dim=2) * _length(errors, dim=2)).sum(1)


def _length(vectors: Tensor, *, dim: int) -> Tensor:
    found: Tensor = torch.linalg.vector_norm(vectors, dim=dim, dtype=torch.float64)
    return found


class PatientGradients(GradSampleModule):  # type: ignore[misc]  # Opacus has no types
    """A head of which each patient's gradient can be had, without being written down where a
    linear map makes it. Layers of other kinds, and bare parameters, go Opacus's own way.

    Args:
        head: Every parameter that requires a gradient is trained.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__(head, loss_reduction="sum")
        self.trained = [p for p in head.parameters() if p.requires_grad]
        self._rows: dict[Tensor, list[Rows]] = {}
        self._biases: dict[Tensor, list[Tensor]] = {}

    def capture_backprops_hook(
        self,
        module: nn.Module,
        _forward_input: Tensor,
        forward_output: Tensor,
        loss_reduction: str,
        batch_first: bool,  # noqa: FBT001 - Opacus's signature
    ) -> None:
        """Keeps what went into a linear map and what came back; see Opacus for other layers."""
        if type(module) is not nn.Linear:
            super().capture_backprops_hook(
                module, _forward_input, forward_output, loss_reduction, batch_first
            )
            return
        if not self.hooks_enabled:
            return
        (inputs, *_), errors = self.rearrange_grad_samples(
            module=module,
            backprops=forward_output[0].detach(),
            loss_reduction=loss_reduction,
            batch_first=batch_first,
        )
        if not module.activations:
            del module.max_batch_len
        people = len(errors)
        errors = errors.reshape(people, -1, module.out_features)
        if module.weight.requires_grad:
            inputs = inputs.reshape(people, -1, module.in_features)
            self._rows.setdefault(module.weight, []).append(Rows(inputs, errors))
        if module.bias is not None and module.bias.requires_grad:
            self._biases.setdefault(module.bias, []).append(errors.sum(1))

    def of(self, per_patient: Tensor) -> list[Rows | Whole | None]:
        """Each patient's gradient by trained weight; None where it is zero for everybody.

        Args:
            per_patient: Losses, (P,), from this head.
        """
        torch.autograd.grad(per_patient.sum(), self.trained, allow_unused=True)
        return [self._taken(parameter) for parameter in self.trained]

    def _taken(self, parameter: nn.Parameter) -> Rows | Whole | None:
        rows, sums = self._rows.pop(parameter, []), self._biases.pop(parameter, [])
        hung = vars(parameter)
        # Opacus finishes a gradient when every layer that uses the weight has called.
        samples = (hung.pop("_current_grad_sample", None), hung.get("grad_sample"))
        hung |= {"grad_sample": None, "_forward_counter": 0}
        wholes = sums + [sample for sample in samples if sample is not None]
        if (rows or sums) and len(wholes) > len(sums):
            raise TypeError(
                "a head may not use a weight of a linear map in a layer of another kind"
            )
        if rows:  # more than one where a map is used twice
            return Rows(
                torch.cat([r.inputs for r in rows], 1), torch.cat([r.errors for r in rows], 1)
            )
        return Whole(torch.stack(wholes).sum(0)) if wholes else None


def clipped_sum(
    model: PatientGradients,
    patients: Sequence[Any],
    losses: Losses[Any],
    *,
    clip: float,
    at_once: int,
) -> Tensor:
    """Leaves the sum of the patients' clipped gradients in the trained weights' `grad`.

    Args:
        model: In training.
        patients: Any number, none included.
        losses: As in `privacy.mechanism.Training`.
        clip: L2 norm that each patient's gradient is cut to.
        at_once: Most patients in a piece.

    Returns:
        Each patient's norm before it was clipped, (P,) float64; 0 of one that counts as zero.
    """
    sums = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in model.trained]
    norms = [torch.zeros(0, dtype=torch.float64)]
    with quiet_hooks():
        for start in range(0, len(patients), at_once):
            some = patients[start : start + at_once]
            norms.append(_add(model.of(losses(model, some)), clip, sums, people=len(some)))
    for parameter, total in zip(model.trained, sums, strict=True):
        parameter.grad = total.to(parameter.dtype)
    return torch.cat(norms)


def _add(
    gradients: Sequence[Rows | Whole | None], clip: float, sums: Sequence[Tensor], *, people: int
) -> Tensor:
    """Adds some patients' clipped gradients to the sums, by trained weight; their norms."""
    squares = torch.zeros(people, dtype=torch.float64)
    for of in gradients:
        if of is not None:
            squares += of.norms().square()
    norms = squares.sqrt()
    good = norms <= LONGEST  # False where a norm is NaN
    norms = torch.where(good, norms, 0)
    left = torch.where(good, clip / norms.clamp(min=clip), 0)
    for of, total in zip(gradients, sums, strict=True):
        if of is not None:
            total.add_(of.sum(left).view_as(total))
    return norms


@contextmanager
def quiet_hooks() -> Iterator[None]:
    """For the way back: torch warns of Opacus's full backward hooks where no input needs a
    gradient, which is always so here: the vectors are frozen.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        yield


def forget(head: nn.Module) -> None:
    """Takes off what is left on a head: gradients and inputs; whoever pickled the head would write
    them down.
    """
    for value in head.parameters():
        vars(value).pop("summed_grad", None)
    for module in head.modules():
        for name in ("activations", "max_batch_len"):
            vars(module).pop(name, None)
