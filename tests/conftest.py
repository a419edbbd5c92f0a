# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0
from hypothesis import settings

# No test is timed, and every run tries the same examples.
settings.register_profile("pyro_drpm", deadline=None, derandomize=True, database=None)
settings.load_profile("pyro_drpm")
