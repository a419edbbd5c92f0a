# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What every training needs: stages that survive a kill, batches, seeds, hardware, schedules."""
