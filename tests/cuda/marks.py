# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Which tests need a GPU."""

import pytest
import torch

__all__ = ["needs_gpu"]

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
