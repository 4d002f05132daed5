"""code-query: every code asks each chunk its own questions."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from tasks.heads.head import (
    Head,
    HeadSpec,
    Line,
    Number,
    Weights,
    fitting,
    mean_chunk,
    plain,
)
from tasks.heads.questions import Questions


class CodeQueryHead(Head):
    """One or two D x D maps and a bias per code around frozen question vectors. See `CodeQuery`."""

    questions: Tensor
    of: Tensor

    def __init__(self, spec: CodeQuery, dim: int, questions: Questions) -> None:
        super().__init__()
        self.spec = spec
        self.outputs = questions.outputs
        self.pick = nn.Linear(dim, dim, bias=False) if spec.pool == "asked" else None
        self.score = nn.Linear(dim, dim, bias=False)
        # A bias per code, written as a map of one constant: Opacus knows Linear, and a bare
        # parameter would need a rule of its own.
        self.bias = nn.Linear(1, self.outputs, bias=False)
        self.residual = nn.Linear(dim, self.outputs, bias=False) if spec.residual else None
        self.register_buffer("questions", questions.vectors, persistent=False)
        self.register_buffer("of", questions.of, persistent=False)

    def forward(
        self, x: Float[Tensor, "P S C D"], chunks: Bool[Tensor, "P S C"]
    ) -> Float[Tensor, "P S L"]:
        """See `Head.forward`."""
        constant = torch.full_like(x[:, :, 0, :1], self.spec.bias_scale)
        logits: Tensor = self._meant(x, chunks) + self.bias(constant)
        if self.residual is not None:
            logits = logits + self.residual(mean_chunk(x, chunks) * self.spec.residual_scale)
        return logits

    def _meant(
        self, x: Float[Tensor, "P S C D"], chunks: Bool[Tensor, "P S C"]
    ) -> Float[Tensor, "P S L"]:
        if self.pick is None:  # one question an output, in order
            mean: Tensor = self.score(mean_chunk(x, chunks)) @ self.questions.T * self.spec.scale
            return mean
        picked = self.pick(x) @ self.questions.T * self.spec.sharpness
        scored = self.score(x) @ self.questions.T * self.spec.scale
        # Padding gets no weight. A stay of padding only would give NaN with -inf; with the
        # least finite number its weights are uniform, and its logits are never read.
        picked = picked.masked_fill(~chunks.unsqueeze(-1), torch.finfo(x.dtype).min)
        return self._asked(picked, scored)

    def _asked(
        self, picked: Float[Tensor, "P S C N"], scored: Float[Tensor, "P S C N"]
    ) -> Float[Tensor, "P S L"]:
        """Softmax over the pairs of a chunk and one of the code's questions, and the mean score."""
        nothing = picked.new_zeros(*picked.shape[:2], self.outputs)
        whose = self.of.expand(*picked.shape[:2], -1)
        # The largest of each code is taken out, so that no exponential overflows.
        top = (nothing - torch.inf).scatter_reduce(-1, whose, picked.detach().amax(2), "amax")
        weights = (picked - top[..., self.of].unsqueeze(2)).exp()
        whole = nothing.index_add(-1, self.of, weights.sum(2))
        return nothing.index_add(-1, self.of, (weights * scored).sum(2)) / whole

    def start(self, generator: torch.Generator) -> None:
        """See `Head.start`: identities, a constant bias, a zero residual."""
        del generator
        if self.pick is not None:
            nn.init.eye_(self.pick.weight)
        nn.init.eye_(self.score.weight)
        self.bias.weight.fill_(self.spec.bias / self.spec.bias_scale)
        if self.residual is not None:
            self.residual.weight.zero_()


class CodeQuery(HeadSpec):
    """`q = U h_c . v_l` picks chunks (softmax over a stay's chunks), `z = W h_c . v_l` scores
    them, summed, plus a bias per code. `v_l` is the frozen encoder's vector of what the code
    means, so about 2 D^2 numbers are trained whatever the number of codes, and a code that no
    hospital ever gave still has a score. U and W start at the identity.

    Attributes:
        sharpness: Factor on q: how strongly the best chunk outweighs the others.
        scale: Factor on z: cosines lie in [-1, 1], logits do not.
        bias: As in `Linear`.
        bias_scale: How fast the biases learn beside the maps: they are trained as
            `bias_scale * b`.
        terms: What becomes of an output's other terms (`Task.terms`): `none` reads its title
            alone, `mean` the mean vector of all, `each` lets every term ask for itself, with one
            softmax over the pairs of a chunk and a term (synonyms as in Yuan et al. 2022,
            arXiv:2203.01515, on frozen vectors).
        pool: `asked` lets each output weigh the chunks, by U; `mean` has no U and scores the
            chunks' mean vector, which says the same where stays have one chunk, and leaves noise
            one map less to spoil. Not with terms that each ask.
        residual: Adds a zero-started linear map of the stay's mean vector (D numbers a code).
        residual_scale: Factor on that map's input: how fast it learns beside the maps, and how
            much of a clipped gradient is its own.
    """

    kind: ClassVar[str] = "code-query"
    sharpness: Number = 15.0
    scale: Number = 30.0
    bias: Number = -11.0
    bias_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0
    terms: Literal["none", "mean", "each"] = "mean"
    pool: Literal["asked", "mean"] = "asked"
    residual: bool = False
    residual_scale: Number = 1.0

    @model_validator(mode="after")
    def _pooled(self) -> Self:
        if self.pool == "mean" and self.terms == "each":
            raise ValueError('terms that each ask choose among chunks: pool must be "asked"')
        return self

    @property
    def reads_terms(self) -> bool:
        """See `HeadSpec.reads_terms`."""
        return self.terms != "none"

    @property
    def takes_line(self) -> bool:
        """See `HeadSpec.takes_line`."""
        return self.residual and self.residual_scale != 0

    def on_line(self, line: Line, own: Weights) -> Weights:
        """See `HeadSpec.on_line`: its own start's logits and the map's, added up; the map's slope
        in the residual, its intercept with the biases.
        """
        slope, intercept = line
        bias = own["bias.weight"] + plain(intercept / self.bias_scale)[:, None]
        return own | {
            "residual.weight": plain(slope.T / self.residual_scale),
            "bias.weight": bias,
        }

    def build(self, *, dim: int, outputs: int, questions: Questions | None = None) -> Head:
        """See `HeadSpec.build`."""
        asked = fitting(questions, dim=dim, outputs=outputs)
        if self.terms == "none":
            asked = asked.first()
        elif self.terms == "mean":
            asked = asked.mean()
        return CodeQueryHead(self, dim, asked)
