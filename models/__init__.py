# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Models of the paper, each a Pyro model and guide with its training script."""

import os

# Threads that wait for others sleep. By default they spin, and on a machine that is used otherwise
# they keep those from running that they wait for. It is read when PyTorch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
