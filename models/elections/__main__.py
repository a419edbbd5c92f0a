# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Infer how states lean: ``python -m models.elections --help``."""

from models.elections.cli import main

if __name__ == "__main__":
    main()
