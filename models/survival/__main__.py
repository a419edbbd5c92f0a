# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Cox regression of grouped times: ``python -m models.survival --help``."""

from models.survival.cli import main

if __name__ == "__main__":
    main()
