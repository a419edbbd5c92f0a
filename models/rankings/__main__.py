# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Scores from rankings with ties: ``python -m models.rankings --help``."""

from models.rankings.cli import main

if __name__ == "__main__":
    main()
