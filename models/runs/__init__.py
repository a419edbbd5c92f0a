# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What every run needs: settings, command line, directory, jobs, tables and learning curves."""
