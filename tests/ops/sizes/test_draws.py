# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import torch

from pyro_drpm.ops.sizes.draws import perturbed_sizes
from pyro_drpm.ops.sizes.fisher import fisher_tables


def test_modes_of_the_conditionals_need_no_noise() -> None:
    log_omega = torch.tensor([0.0, 5.0, 1.0], dtype=torch.float64)
    law = fisher_tables(log_omega, torch.tensor([6, 6, 6]), 6)
    counts = perturbed_sizes(law, None, torch.Size())
    remaining = 6
    for k, count in enumerate(counts[:-1].tolist()):
        prob = law.conditional(k, torch.tensor(remaining))
        assert count == prob.argmax().item()
        remaining -= count
    assert counts[-1] == remaining
