"""What a step of dp-sgd takes: clipped sums against Opacus's gradients of every patient.

    python benchmarks/clipped_sums.py [--patients N] [--outputs N] [--chunks N]

One sample of invented patients, `code-query` with a residual on vectors of 384 numbers, one thread.
Each way runs in a process of its own; peak memory is that process's largest resident set, less what
it had before the step. Both ways' sums are compared. Exit status 1 where they differ by more than
1e-4 of the clip.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from privacy.clipped_sums import PatientGradients, clipped_sum, quiet_hooks
from tasks.bags import PatientBag, collate
from tasks.heads.code_query import CodeQuery
from tasks.heads.head import Head
from tasks.heads.questions import Questions
from tasks.loss import patient_losses

DIM, CLIP, MIB = 384, 0.05, 2**20
WAYS = ("ours", "opacus")


def made(outputs: int) -> Head:
    """The head as a study starts it, its residual at small random numbers."""
    random = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(outputs, DIM, generator=random), dim=1)
    head = CodeQuery(residual=True, residual_scale=8.0).build(
        dim=DIM, outputs=outputs, questions=Questions.one_each(rows)
    )
    with torch.no_grad():
        head.start(random)
    torch.nn.init.normal_(head.residual.weight, std=0.01, generator=random)
    return head


def people(number: int, chunks: int, outputs: int) -> list[PatientBag]:
    """One stay each."""
    random = torch.Generator().manual_seed(1)
    bags = []
    for _ in range(number):
        vectors = torch.nn.functional.normalize(torch.randn(chunks, DIM, generator=random), dim=1)
        targets = torch.randint(outputs, (3,), generator=random).unique().tolist()
        bags.append(PatientBag((vectors.numpy(),), (tuple(targets),)))
    return bags


def step(way: str, args: argparse.Namespace) -> list[Tensor]:
    """One step's sums, by weight; prints seconds and MiB."""
    torch.set_num_threads(1)
    head, some = made(args.outputs).train(), people(args.patients, args.chunks, args.outputs)

    def losses(model: torch.nn.Module, sample: list[PatientBag]) -> Tensor:
        batch = collate(sample, dim=DIM, outputs=args.outputs)
        return patient_losses(model(batch.x, batch.chunks), batch)

    def run(sample: list[PatientBag]) -> list[Tensor]:
        if way == "ours":
            clipped_sum(model, sample, losses, clip=CLIP, at_once=1024)
            return [value.grad for value in model.trained]
        optimizer.zero_grad()
        with quiet_hooks():
            losses(model, sample).sum().backward()
        optimizer.clip_and_accumulate()
        return [value.summed_grad for value in optimizer.params]

    if way == "ours":
        model = PatientGradients(head)
    else:
        from opacus.grad_sample import GradSampleModule
        from opacus.optimizers import DPOptimizer

        model = GradSampleModule(head, loss_reduction="sum")
        optimizer = DPOptimizer(
            torch.optim.SGD(head.parameters(), lr=1.0),
            noise_multiplier=0.0,
            max_grad_norm=CLIP,
            expected_batch_size=1,
            loss_reduction="sum",
        )
    run(some[:2])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    sums = run(some)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{seconds:.3f} {peak * 1024 / MIB:.0f}")
    return [total.detach().clone() for total in sums]


def main() -> int:
    """Runs both ways and prints how they compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--patients", type=int, default=1000)
    parser.add_argument("--outputs", type=int, default=500)
    parser.add_argument("--chunks", type=int, default=4)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--to", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        torch.save(step(args.way, args), args.to)
        return 0
    found, sums = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for way in WAYS:
            to = Path(folder) / way
            words = [sys.executable, __file__, *sys.argv[1:], "--way", way, "--to", str(to)]
            said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
            found[way] = [float(number) for number in said.split()]
            sums[way] = torch.load(to)
    apart = max(
        float((a - b).abs().max()) for a, b in zip(sums["ours"], sums["opacus"], strict=True)
    )
    for way, (seconds, memory) in found.items():
        print(f"{way:7} {seconds:8.2f} s {memory:8.0f} MiB")
    (ours, mine), (theirs, written) = found["ours"], found["opacus"]
    print(f"Opacus's take {theirs / ours:.1f} times as long and {written / max(mine, 1):.1f} times")
    print(f"the memory; the sums differ by {apart:.1e} at a clip of {CLIP}")
    return int(apart > 1e-4 * CLIP)


if __name__ == "__main__":
    sys.exit(main())
