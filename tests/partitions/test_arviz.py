# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Draws of MCMC and of guides in ArviZ, and its diagnostics on them."""

from __future__ import annotations

import math
import sys
from types import ModuleType
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import MCMC, NUTS, Predictive
from torch import Tensor

from pyro_drpm import DRPM
from pyro_drpm.partitions import invariants, to_arviz


@pytest.fixture(autouse=True)
def _fresh_pyro() -> None:
    pyro.clear_param_store()
    pyro.set_rng_seed(0)


def model(Y: Tensor | None = None) -> None:
    omega = pyro.sample("omega", dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
    s = pyro.sample("s", dist.LogNormal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("partitions", 4):
        pyro.sample("Y", DRPM(omega, s), obs=Y)


@pytest.fixture(scope="module")
def mcmc() -> MCMC:
    pyro.set_rng_seed(0)
    Y = DRPM(torch.ones(2), torch.ones(3)).sample((4,))
    result = MCMC(NUTS(model), num_samples=30, warmup_steps=100, disable_progbar=True)
    result.run(Y)
    return result


def test_chains_of_mcmc(mcmc: MCMC) -> None:
    data = to_arviz(mcmc)
    assert data.posterior["omega"].dims == ("chain", "draw", "subset")
    assert data.posterior["s"].dims == ("chain", "draw", "element")
    assert data.posterior["omega"].shape == (1, 30, 2)
    drawn = mcmc.get_samples(group_by_chain=True)["s"].numpy()
    assert (data.posterior["s"].values == drawn).all()
    assert data.sample_stats["diverging"].shape == (1, 30)


def test_divergences_are_where_they_happened(mcmc: MCMC, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"divergences": {"chain 0": [3, 7]}}
    monkeypatch.setattr(mcmc, "diagnostics", lambda: found)
    diverging = to_arviz(mcmc).sample_stats["diverging"].values[0]
    assert diverging.nonzero()[0].tolist() == [3, 7]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # one chain has no R-hat
@pytest.mark.filterwarnings("ignore:Passing a dict or None as alias_mapping")  # inside ArviZ
def test_summary_and_diagnostics(mcmc: MCMC) -> None:
    import arviz

    data = to_arviz(mcmc, coords={"subset": ("a", "b")})
    summary = arviz.summary(data)
    assert {"omega[a]", "omega[b]", "s[0]", "s[2]"} <= set(summary.index)
    assert summary["ess_bulk"].gt(0).all()
    assert arviz.plot_trace(data, var_names=["omega"]) is not None


def test_partitions_of_a_guide_come_with_invariants() -> None:
    draws = Predictive(model, num_samples=50)()
    Y = draws["Y"]  # (50, 4, 2, 3)
    data = to_arviz(
        {"Y": Y, "weight": draws["omega"].squeeze(1)},
        dims={"Y": ["partition", "subset", "element"], "weight": ["subset"]},
    )
    assert data.posterior["Y"].dims == ("chain", "draw", "partition", "subset", "element")
    assert data.posterior["weight"].dims == ("chain", "draw", "subset")
    for name, expected in invariants(Y).items():
        found = torch.from_numpy(data.posterior[f"Y_{name}"].values)[0]
        assert torch.equal(found, expected)


def test_r_hat_of_switched_labels() -> None:
    """The one chain that names the subsets otherwise is no other chain."""
    import arviz

    Y = DRPM(torch.tensor([1.0, 30.0]), torch.ones(6)).sample((4, 200))
    Y[0] = Y[0].flip(-2)
    named = arviz.convert_to_dataset({"size": Y[..., 0, :].sum(-1).numpy()})
    assert arviz.rhat(named)["size"] > 1.5
    kept = arviz.convert_to_dataset({"entropy": invariants(Y)["size_entropy"].numpy()})
    assert arviz.rhat(kept)["entropy"] < 1.03


def test_invariants_by_hand() -> None:
    Y = torch.nn.functional.one_hot(torch.tensor([[0, 0, 2, 0], [1, 1, 1, 1]]), 4).mT.float()
    found = invariants(Y)
    assert found["num_subsets"].tolist() == [2, 1]
    entropy = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    torch.testing.assert_close(found["size_entropy"], torch.tensor([entropy, 0.0]))
    assert found["pairs"].tolist() == [[1, 0, 0], [1, 1, 1]]
    renamed = invariants(Y[:, [3, 1, 0, 2]])
    assert all(torch.equal(renamed[name], found[name]) for name in found)


def test_the_line_from_1_takes_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its function has another signature, and may not be installed here."""
    calls: list[Any] = []
    newer = ModuleType("arviz")
    newer.__dict__.update(__version__="1.2.0", from_dict=lambda *a, **k: calls.append((a, k)))
    monkeypatch.setitem(sys.modules, "arviz", newer)
    to_arviz({"omega": torch.ones(5, 2), "other": torch.ones(5)})
    ((groups,), options) = calls[0]
    assert set(groups) == {"posterior"} and groups["posterior"]["omega"].shape == (1, 5, 2)
    assert options == {"dims": {"omega": ["subset"]}, "coords": {}}


def test_missing_arviz_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ImportError, match=r"arviz is needed, .* 'pyro-drpm\[arviz\]'"):
        to_arviz({"omega": torch.ones(5, 2)})


def test_only_partitions_that_are_there() -> None:
    assert set(to_arviz({"x": torch.ones(5)}).posterior.data_vars) == {"x"}
