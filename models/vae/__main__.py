# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Train DRPM-VAE and its baselines: ``python -m models.vae --help``."""

from models.vae.cli import main

if __name__ == "__main__":
    main()
