"""Start: weights of an earlier study that a study goes on from."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from privacy.spec import Spec
from tasks.heads.head import HeadSpec, Shapes, Weights, shapes_of
from tasks.heads.kinds import AnyHead


class Start(Spec):
    """Where round 1 starts: at the weights that an earlier study released, in place of the head's
    own start. The table `[start]` of a study file; who launches the study gives the weights' file.

    The digest covers the hash and the earlier head, and the coordinator's code starts from no
    other file. Sites need none, and do not check: they are sent weights in every round, and no
    promise to patients rests on where those come from.

    The outputs must be those of the earlier study, in their order: weights say nothing of what
    they are about.

    Guarantees:
        * Nothing more is charged for the start: it is computed from what the earlier study
          released, and the ledgers paid for that (post-processing, Dwork and Roth 2014,
          proposition 2.1).
        * This study's rounds cost what they cost from any start: no mechanism asks where the
          weights come from. A site that took part in both has both in its ledger, composed as any
          two studies are.
        * What this study promises speaks of its own rounds. Of an earlier study without privacy
          nothing was promised, and nothing is by starting from it.

    Attributes:
        weights_sha256: Of the weights' file, `final.safetensors` of the earlier study or one of its
            checkpoints, in hex.
        head: The head that trained them, where the study has another or this one with other
            factors: its logits are a linear map of the mean vector, and the study's head starts
            from that map. What it says besides the kind may be changed: the `scale` and the `ridge`
            of a `ridge`, for example, since they are applied to what it released. Without it
            the weights are the study's head's own.
    """

    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    head: AnyHead | None = None

    def broken(self, head: HeadSpec) -> str | None:
        """Why a head cannot start from this, whatever the weights; None where it can."""
        if head.by_sums:
            return f"head {head.kind!r} follows from sums, not from a start: take [start] away"
        if self.head is None:
            return None
        if not self.head.is_line:
            return (
                f"start.head {self.head.kind!r} is no linear map of the mean vector; leave it out "
                "to go on from weights of the study's own head"
            )
        if not head.takes_line:
            return (
                f"head {head.kind!r}, as it is, cannot start from a linear map: choose 'linear', "
                "'random-features', or 'code-query' with residual = true, with a factor other "
                "than 0 on the mean vector"
            )
        return None

    def weights(
        self, earlier: Weights, own: Weights, *, of: HeadSpec, dim: int, outputs: int
    ) -> Weights:
        """The weights that round 1 starts from.

        Args:
            earlier: What stands in the file.
            own: What the study's head would start from.
            of: The study's head.
            dim: D.
            outputs: L.

        Raises:
            ValueError: They are not those of such a head, or not finite.
        """
        head = of if self.head is None else self.head
        with torch.device("meta"):  # shapes only
            shapes = shapes_of(head.build(dim=dim, outputs=outputs))
        found = {name: value.shape for name, value in earlier.items()}
        if found != shapes:
            raise ValueError(
                f"they are {_said(found)}, and those of head {head.kind!r} on {dim} wide vectors "
                f"with {outputs:,} outputs are {_said(shapes)}"
            )
        if any(
            value.dtype != np.float32 or not np.isfinite(value).all() for value in earlier.values()
        ):
            raise ValueError("they are not all finite numbers of 32 bits")
        if self.head is None:
            return dict(earlier)
        return of.on_line(self.head.line(earlier), own)


def _said(shapes: Shapes) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items()))
