"""ridge: a linear head in closed form; what is trained are the sums that it follows from.

After FED3R (Fanì et al. 2024, arXiv:2406.01116): sums over patients add up over sites, so one round
gives what all records in one place would, however different the sites are.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from tasks.heads.head import HeadSpec, Line, Number, SummedHead, Weights, mean_chunk
from tasks.heads.questions import Questions

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

# Where nobody was summed the intercept's own sum is zero, and any number divides it.
_NOBODY = 1e-12


class RidgeHead(SummedHead):
    """Logits = (A mean(chunks) + b - middle) * scale, A and b solved from sums. See `Ridge`."""

    def __init__(self, spec: Ridge, dim: int, outputs: int) -> None:
        super().__init__()
        self.spec = spec
        self.gram = nn.Parameter(torch.zeros(dim + 1, dim + 1))
        self.cross = nn.Parameter(torch.zeros(dim + 1, outputs))
        self._solved: tuple[Tensor, Tensor, Line] | None = None

    def inputs(
        self, x: Float[Tensor, "P S C D"], chunks: Bool[Tensor, "P S C"]
    ) -> Float[Tensor, "P S K"]:
        """See `SummedHead.inputs`: the mean chunk and a constant; K is D + 1."""
        mean = mean_chunk(x, chunks)
        constant = torch.full_like(mean[..., :1], self.spec.constant)
        return torch.cat([mean, constant], dim=-1)

    def forward(
        self, x: Float[Tensor, "P S C D"], chunks: Bool[Tensor, "P S C"]
    ) -> Float[Tensor, "P S L"]:
        """See `Head.forward`."""
        weights, intercept = self.line()
        said = mean_chunk(x, chunks) @ weights.to(x.dtype) + intercept.to(x.dtype)
        logits: Tensor = (said - self.spec.middle) * self.spec.scale
        return logits

    def start(self, generator: torch.Generator) -> None:
        """See `Head.start`: sums over nobody, which say 0 of everything."""
        del generator
        self.gram.zero_()
        self.cross.zero_()

    def line(self) -> Line:
        """The regression that the sums give; solved once for as long as they stay the same."""
        gram, cross = self.gram.detach(), self.cross.detach()
        kept = self._solved
        if kept is None or not (_same(gram, kept[0]) and _same(cross, kept[1])):
            kept = self._solved = (gram.clone(), cross.clone(), self.spec.solve(gram, cross))
        return kept[2]


class Ridge(HeadSpec):
    """Ridge regression of every output, 0 or 1, on the stay's mean vector, with an intercept that
    is not regularised; the same as scikit-learn's `Ridge` on everybody's records with
    alpha = `ridge` times the declared patients of all sites.

    A patient counts once: with several stays, each by its share. The trained weights are the
    patients' mean `z z'` and `z y'` (`privacy.moments`), where z is the mean vector with a constant
    behind it. They are sums that add up, so the study has one round with one step at rate 1, a
    mechanism that sums (`gaussian-sums`, or `off`) and a strategy that averages.

    Under noise the sums' matrix has eigenvalues that are noise, some of them negative. Negative
    ones are put at zero, and to the square of each is added that of `caution` times the largest
    that noise alone would have: one far above it stays as it is, one that may be noise becomes no
    smaller than noise. (AdaSSP, Wang 2018, arXiv:1803.02596, adds the noise itself and shrinks
    all.) How large the noise is can be read from the matrix: its two halves differ by noise
    alone, with deviation s of each number; a symmetric matrix of half the sum of such pairs has
    eigenvalues within s sqrt(2 D) (Wigner). All of this is done with what has left the sites,
    and costs no privacy.

    Attributes:
        constant: Public; the longer the constant, the better is the intercept known under noise
            and the worse all else, because it is part of each patient's row.
        ridge: Regularisation of the mean, where vectors have unit length. About one over the
            patients of all sites is right without noise; with noise less is, as `caution` adds
            what is needed.
        caution: What eigenvalues are raised to, in units of the noise's largest; without noise
            it does nothing.
        scale: Of logits: predictions lie about 0 and 1, the bins that scores are counted in
            reach from -8 to 8 at least.
        middle: The prediction whose logit is 0.
    """

    kind: ClassVar[str] = "ridge"
    by_sums: ClassVar[bool] = True
    is_line: ClassVar[bool] = True
    constant: _Positive = 0.3
    ridge: _Positive = 1e-4
    caution: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.8
    scale: _Positive = 20.0
    middle: Number = 0.3

    def build(self, *, dim: int, outputs: int, questions: Questions | None = None) -> RidgeHead:
        """See `HeadSpec.build`; questions are not used."""
        del questions
        return RidgeHead(self, dim, outputs)

    def solve(self, gram: Float[Tensor, "K K"], cross: Float[Tensor, "K L"]) -> Line:
        """The regression from its sums, with noise in them or without.

        Args:
            gram: Mean `z z'`; not symmetric where there is noise.
            cross: Mean `z y'`.
        """
        gram, cross = gram.double(), cross.double()
        noise = _noise(gram)
        gram = (gram + gram.T) / 2
        # The intercept solved away; what is left is about deviations from the mean vector.
        counted = gram[-1, -1].clamp(min=max(noise, _NOBODY))
        share = gram[:-1, -1] / counted
        matrix = gram[:-1, :-1] - torch.outer(share, gram[-1, :-1])
        values, vectors = torch.linalg.eigh(matrix)
        largest_of_noise = noise * math.sqrt(2 * len(matrix))
        floor = self.caution * largest_of_noise
        values = (values.clamp(min=0).square() + floor**2).sqrt() + self.ridge
        deviations = cross[:-1] - torch.outer(share, cross[-1])
        weights = vectors @ ((vectors.T @ deviations) / values[:, None])
        # z ends in the constant, so its weight times the constant is the intercept.
        intercept = (cross[-1] / counted - share @ weights) * self.constant
        return weights, intercept

    def line(self, weights: Weights) -> Line:
        """See `HeadSpec.line`."""
        gram, cross = (torch.from_numpy(weights[name]) for name in ("gram", "cross"))
        slope, intercept = self.solve(gram, cross)
        return slope * self.scale, (intercept - self.middle) * self.scale


def _noise(gram: Float[Tensor, "K K"]) -> float:
    """The deviation of the noise in each number of a matrix that would be symmetric without."""
    width = len(gram)
    if width < 2:
        return 0.0
    return math.sqrt(float((gram - gram.T).square().sum()) / (2 * width * (width - 1)))


def _same(value: Tensor, other: Tensor) -> bool:
    return value.dtype == other.dtype and torch.equal(value, other)
