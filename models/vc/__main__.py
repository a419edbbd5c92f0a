# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Train DRPM-VC and its baselines: ``python -m models.vc --help``."""

from models.vc.cli import main

if __name__ == "__main__":
    main()
