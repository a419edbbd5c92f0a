# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import torch

from pyro_drpm.ops.noise import gumbel
from pyro_drpm.ops.size_law import size_law
from pyro_drpm.ops.sizes import perturbed_sizes, relaxed_boundaries


def test_modes_of_the_conditionals_need_no_noise() -> None:
    log_omega = torch.tensor([0.0, 5.0, 1.0], dtype=torch.float64)
    law = size_law(log_omega, torch.tensor([6, 6, 6]), 6)
    counts = perturbed_sizes(law, None, torch.Size())
    remaining = 6
    for k, count in enumerate(counts[:-1].tolist()):
        prob = law.conditional(k, torch.tensor(remaining))
        assert count == prob.argmax().item()
        remaining -= count
    assert counts[-1] == remaining


def test_relaxed_boundaries_harden_and_are_ordered() -> None:
    torch.manual_seed(0)
    law = size_law(torch.randn(4), torch.full((4,), 8), 8)
    shape = torch.Size((100,))
    noise = gumbel(shape + (3, 9), law.mass.device)
    counts = perturbed_sizes(law, noise, shape)
    hard = (torch.arange(8) < counts[:, :-1].cumsum(-1).unsqueeze(-1)).double()
    cold = relaxed_boundaries(law, counts, noise, 1e-3)
    torch.testing.assert_close((cold - hard).abs().median(), torch.tensor(0.0).double())
    assert (cold - hard).abs().mean() < 1e-3
    warm = relaxed_boundaries(law, counts, noise, 1.0)
    assert warm.min() >= -1e-12 and warm.max() <= 1 + 1e-12
    assert (warm.diff(dim=-1) <= 1e-12).all(), "survival functions fall with the rank"
    assert (warm.diff(dim=-2) >= -1e-12).all(), "boundaries grow with the subset"
