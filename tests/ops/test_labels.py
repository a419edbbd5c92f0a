# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import torch
import torch.nn.functional as F

from pyro_drpm.ops.labels import subset_of_each


def test_many_labels_under_autocast() -> None:
    """Beyond 256, bfloat16 does not hold every integer."""
    labels = torch.arange(1500)
    Y = F.one_hot(labels, 1500).mT.float()
    assert torch.equal(subset_of_each(Y), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(subset_of_each(Y), labels)
