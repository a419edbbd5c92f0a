# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Noise, time and agreement of the two straight-through gradients for the scores.

For a random quadratic function of the partition: the standard deviation of one draw's gradient over
the norm of its mean, the time of drawing and differentiating, and the cosine between the means of
both, cleared of the noise of the draws by comparing halves of them.
"""

from __future__ import annotations

import time
from typing import Literal

import torch
from torch import Tensor

from pyro_drpm import DRPM

SIZES = [(20, 3, 20_000), (64, 5, 8_000), (256, 10, 2_000)]  # n, K, draws


def gradients(
    n: int, num_subsets: int, draws: int, gradient: Literal["flow", "relaxed"]
) -> tuple[Tensor, float]:
    """Gradients of each draw, shape ``(draws, n)``, and seconds."""
    torch.manual_seed(0)
    linear, quadratic = torch.randn(num_subsets, n), torch.randn(n, n) / n**0.5
    log_omega = 0.5 * torch.randn(num_subsets)
    log_s = torch.randn(n).expand(draws, n).clone().requires_grad_()
    start = time.perf_counter()
    partition = DRPM(log_omega=log_omega, log_s=log_s, gradient=gradient, validate_args=False)
    Y = partition.rsample()
    objective = (Y * linear).sum() + ((Y @ quadratic) * Y).sum()
    (each,) = torch.autograd.grad(objective, log_s)
    return each.double(), time.perf_counter() - start


def main() -> None:
    """Prints a table."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32")
    print(f"{'n':>5}{'K':>4}  {'gradient':<9}{'noise / signal':>15}{'seconds':>9}{'cosine':>9}")
    for n, num_subsets, draws in SIZES:
        halves = []
        for gradient in ("flow", "relaxed"):
            each, seconds = gradients(n, num_subsets, draws, gradient)
            first, second = each[: draws // 2].mean(0), each[draws // 2 :].mean(0)
            halves.append((first, second))
            squared_signal = first @ second
            noise = (each.var(0).sum() / squared_signal).sqrt()
            (a, b), (c, d) = halves[0], halves[-1]
            cosine = (a @ d + b @ c) / 2 / ((a @ b) * (c @ d)).sqrt()
            print(
                f"{n:>5}{num_subsets:>4}  {gradient:<9}{noise:>15.1f}{seconds:>9.2f}{cosine:>9.3f}"
            )


if __name__ == "__main__":
    main()
