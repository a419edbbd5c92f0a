# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Train DRPM-MTL and its baseline: ``python -m models.mtl --help``."""

from models.mtl.cli import main

if __name__ == "__main__":
    main()
