# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Cluster real data with known sizes: ``python -m models.known_sizes --help``."""

from models.known_sizes.cli import main

if __name__ == "__main__":
    main()
