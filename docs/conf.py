# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Configuration of the documentation: ``make docs``."""

import pyro_drpm

project = "pyro-drpm"
author = "the pyro-drpm contributors"
copyright = "2026, the pyro-drpm contributors"
version = release = pyro_drpm.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",  # formulas without a network
]
html_theme = "furo"
html_title = "pyro-drpm"

# The tutorials are stored with their outputs; the tests execute them.
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
