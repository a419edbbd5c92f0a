# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Iterator
from pathlib import Path

import pyro
import pytest
import torch
from torch import Tensor

from models.vae.posteriors import Posterior
from models.vc.networks import Autoencoder
from models.vc.priors import ClusterPriors
from tests.models import training_checks, vc_runs
from tests.models.scripts import MTL, VAE
from tests.models.view_pairs import B, D


@pytest.fixture
def seeded() -> Iterator[None]:
    """Random numbers of seed 0, and parameters that belong to modules, as in a training."""
    pyro.set_rng_seed(0)
    with pyro.settings.context(module_local_params=True):
        yield


@pytest.fixture
def views(seeded: None) -> Posterior:
    shape = (B, 2, D)
    return Posterior(torch.randn(shape).double(), torch.rand(shape).double() + 0.2)


@pytest.fixture
def network() -> Autoencoder:
    pyro.set_rng_seed(0)
    return Autoencoder(num_values=4, widths=(6, 5), latent_dim=vc_runs.LATENT).double()


@pytest.fixture
def priors() -> ClusterPriors:
    priors = ClusterPriors(vc_runs.K, vc_runs.LATENT).double()
    for parameter in priors.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return priors


@pytest.fixture
def images(network: Autoencoder) -> Tensor:
    return torch.rand(vc_runs.N, 1, 2, 2, dtype=torch.double)


@pytest.fixture
def one_thread() -> Iterator[None]:
    with training_checks.one_thread():
        yield


@pytest.fixture(scope="session")
def finished_vc_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ``models.vc`` that was never killed. Tests that change it copy it."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    vc_runs.run(out)
    return out


@pytest.fixture(scope="session")
def finished_vae_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ``models.vae`` that was never killed. Tests that change it copy it."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    with training_checks.one_thread():
        VAE.run(out)
    return out


@pytest.fixture(scope="session")
def finished_mtl_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ``models.mtl`` that was never killed. Tests that change it copy it."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    with training_checks.one_thread():
        MTL.run(out)
    return out
