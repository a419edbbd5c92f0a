# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Draws of MCMC and of guides in ArviZ, and its diagnostics on them."""

from __future__ import annotations

import math
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import MCMC, NUTS, Predictive
from torch import Tensor

from pyro_drpm import DRPM
from pyro_drpm.partitions import invariants, partition_loss, point_estimate, to_arviz
from pyro_drpm.partitions.references import reference_distances, reference_names


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
    assert data.posterior["Y_pairs"].dims == ("chain", "draw", "partition", "pair")
    assert data.posterior["Y_vi"].dims == ("chain", "draw", "partition", "reference")
    assert data.posterior["Y_num_subsets"].dims == ("chain", "draw", "partition")
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


def stuck_chains(num_draws: int) -> Tensor:
    """Labels of two chains, each near another partition with pairs (i, i + 1) like the other's."""
    first = torch.tensor([0, 0, 1, 1, 0, 0, 1, 1, 2, 2])
    second = torch.tensor([0, 0, 1, 1, 2, 2, 0, 0, 1, 1])
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([first, second]).unsqueeze(1).repeat(1, num_draws, 1)
    noise = torch.rand(draws.shape, generator=generator) < 0.1
    return torch.where(noise, torch.randint(3, draws.shape, generator=generator), draws)


def test_r_hat_sees_chains_at_different_partitions() -> None:
    import arviz

    data = to_arviz({"Y": stuck_chains(300)}, by_chain=True)
    r_hat = arviz.rhat(data.posterior[["Y_pairs", "Y_num_subsets", "Y_size_entropy", "Y_vi"]])
    # The estimate may lie midway, but no draw does.
    assert (r_hat["Y_vi"][1:] > 1.4).all()
    assert r_hat["Y_pairs"].max() < 1.05 and r_hat["Y_num_subsets"] < 1.05


def test_r_hat_of_chains_that_mix_is_one() -> None:
    import arviz

    mixed = stuck_chains(300).flatten(0, 1)
    order = torch.randperm(600, generator=torch.Generator().manual_seed(0))
    data = to_arviz({"Y": mixed[order].view(2, 300, -1)}, by_chain=True)
    assert arviz.rhat(data.posterior[["Y_vi"]])["Y_vi"].max() < 1.05


def test_references_are_the_estimate_and_draws_through_all_chains() -> None:
    labels = stuck_chains(200)[0].view(2, 100, -1)
    state = torch.get_rng_state()
    data = to_arviz({"Y": labels}, by_chain=True).posterior["Y_vi"]
    assert torch.equal(torch.get_rng_state(), state)
    assert data.dims == ("chain", "draw", "reference")
    assert data.coords["reference"].values.tolist() == [
        "point estimate",
        *("chain 0, draw 25", "chain 0, draw 75", "chain 1, draw 25", "chain 1, draw 75"),
    ]
    estimate = point_estimate(labels.flatten(0, 1)).labels
    references = [estimate, labels[0, 25], labels[0, 75], labels[1, 25], labels[1, 75]]
    for place, reference in enumerate(references):
        expected = partition_loss(labels, reference).numpy()
        np.testing.assert_allclose(data.values[..., place], expected, atol=1e-11)
    again = to_arviz({"Y": labels}, by_chain=True).posterior["Y_vi"]
    assert (again.values == data.values).all()


@pytest.mark.parametrize(
    ("num_chains", "num_draws", "places"),
    [
        (1, 2, ["chain 0, draw 0", "chain 0, draw 1"]),
        (1, 80, [f"chain 0, draw {draw}" for draw in (10, 30, 50, 70)]),
        (6, 10, [f"chain {chain}, draw 5" for chain in range(6)]),
    ],
)
def test_places_of_references(num_chains: int, num_draws: int, places: list[str]) -> None:
    labels = torch.zeros(num_chains, num_draws, 3, dtype=torch.long)
    assert reference_names(labels) == ["point estimate", *places]


def test_every_partition_of_a_plate_has_references_of_its_own() -> None:
    labels = stuck_chains(50)
    plate = torch.stack([labels, labels.flip(-1), torch.zeros_like(labels)], 2)
    distances = reference_distances(plate)
    assert distances.shape == (2, 50, 3, 5)
    torch.testing.assert_close(distances[:, :, 0], reference_distances(labels))
    assert not distances[:, :, 2].any()
    data = to_arviz({"Y": plate}, by_chain=True).posterior
    assert data["Y"].dims == ("chain", "draw", "Y_dim_0", "element")
    assert data["Y_vi"].dims == ("chain", "draw", "Y_vi_dim_0", "reference")


def test_plates_of_partitions_are_not_called_subsets() -> None:
    draws = Predictive(model, num_samples=20)()
    data = to_arviz(draws).posterior
    assert data["Y"].dims == ("chain", "draw", "Y_dim_0", "subset", "element")
    assert data["omega"].dims[-1] == "subset" and data["s"].dims[-1] == "element"
    assert data["Y_pairs"].dims == ("chain", "draw", "Y_pairs_dim_0", "pair")
    assert not any(data[name].isnull().any() for name in data.data_vars)


def test_sites_of_different_lengths_have_dims_of_their_own() -> None:
    draws = {
        "omega": torch.rand(20),
        "s": torch.rand(20, 7),
        "log_s": torch.rand(20, 3),
        "Z": DRPM(torch.ones(2), torch.ones(5)).sample((20,)),
        "Y": DRPM(torch.ones(2), torch.ones(3)).sample((20,)),
    }
    data = to_arviz(draws, partitions=["Y", "Z"]).posterior
    dims = {name: data[name].dims[2:] for name in data.data_vars}
    assert dims["Y"] == ("subset", "element") and dims["Z"] == ("subset", "Z_element")
    assert dims["Y_pairs"] == ("pair",) and dims["Z_pairs"] == ("Z_pairs_pair",)
    assert dims["omega"] == () and dims["s"] == ("s_element",) and dims["log_s"] == ("element",)
    assert dims["Z_vi"] == dims["Y_vi"] == ("reference",)
    assert not any(data[name].isnull().any() for name in data.data_vars)


def test_names_of_coordinates_are_for_sites_of_their_length() -> None:
    draws = {"s": torch.rand(20, 7), "log_s": torch.rand(20, 3)}
    data = to_arviz(draws, coords={"element": ["a", "b", "c"]}).posterior
    assert data["s"].dims[2:] == ("s_element",) and data["log_s"].dims[2:] == ("element",)
    assert data["log_s"].coords["element"].values.tolist() == ["a", "b", "c"]


def test_names_that_are_given_are_kept() -> None:
    Y = DRPM(torch.ones(2), torch.ones(3)).sample((20,))
    draws = {"Y": Y, "Y_num_subsets": torch.full((20,), 7.0)}
    dims = {"Y_pairs": ["neighbors"], "Y": ["row", "column"]}
    data = to_arviz(draws, dims=dims).posterior
    assert data["Y_pairs"].dims[2:] == ("neighbors",) and data["Y"].dims[2:] == ("row", "column")
    assert (data["Y_num_subsets"] == 7).all()


def test_numbers_in_arrays_and_lists() -> None:
    Y = DRPM(torch.ones(2), torch.ones(3)).sample((2, 20))
    expected = to_arviz({"Y": Y}, by_chain=True).posterior
    for form in (Y.numpy(), Y.long().numpy(), Y.bool(), Y.tolist(), Y.bfloat16()):
        data = to_arviz({"Y": form, "x": np.ones((2, 20))[:, ::-1]}, by_chain=True).posterior
        assert (data["Y"].values == Y.numpy()).all() and data["Y"].dims == expected["Y"].dims
        assert (data["Y_vi"] == expected["Y_vi"]).all()
    labels = to_arviz({"Y": Y.argmax(-2)}, by_chain=True).posterior
    assert labels["Y"].dims == ("chain", "draw", "element")
    assert (labels["Y_pairs"].values == expected["Y_pairs"].values).all()


def enumerated() -> None:
    with pyro.plate("items", 3):
        z = pyro.sample("z", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
        pyro.sample("x", dist.Normal(z, 1.0), obs=torch.zeros(3))


def test_mcmc_without_draws() -> None:
    unfinished = MCMC(NUTS(model), num_samples=3, warmup_steps=3, disable_progbar=True)
    with pytest.raises(ValueError, match="finished MCMC, but it has not been run"):
        to_arviz(unfinished)
    kernel = NUTS(enumerated, max_plate_nesting=1)
    result = MCMC(kernel, num_samples=3, warmup_steps=3, disable_progbar=True)
    result.run()
    with pytest.raises(ValueError, match="at least one site, but got none: .* enumerated"):
        to_arviz(result)


@pytest.mark.parametrize(
    ("draws", "options", "message"),
    [
        ({}, {}, "at least one site, but got none"),
        ({"x": torch.ones(5), "y": torch.ones(6)}, {}, r"\(draws, \*site\), but got .*5.*6"),
        ({"x": torch.ones(5)}, {"by_chain": True}, r"\(chains, draws, \*site\), but got .*\(5,\)"),
        ({"x": torch.tensor(1.0)}, {}, r"got {'x': \(\)}"),
        ({"x": torch.ones(0, 3)}, {}, r"got {'x': \(0,\)}"),
        ({"x": ["a"]}, {}, r"numbers .* got \['a'\]"),
        ({"x": torch.ones(5)}, {"partitions": ["Z"]}, r"among the sites x, but got \['Z'\]"),
        ({"x": torch.ones(5)}, {"dims": {"X": ["a"]}}, "dims of the sites x, but got some of X"),
        ({"x": torch.ones(5)}, {"dims": {"x": ["a"]}}, r"at most 0 dims of 'x', but got \['a'\]"),
        (
            {"x": torch.ones(5, 2), "y": torch.ones(5, 3)},
            {"dims": {"x": ["a"], "y": ["a"]}},
            "'a' of 'y' to have size 3, but it has 2 elsewhere",
        ),
        (
            {"x": torch.ones(5, 2)},
            {"dims": {"x": ["a"]}, "coords": {"a": [1, 2, 3]}},
            "'a' of 'x' to have size 2, but it has 3 elsewhere",
        ),
        ({"Y": torch.rand(5, 2, 3)}, {}, "one 1 in every column .* site 'Y' is no partition"),
        ({"Y": torch.ones(5).long()}, {}, "at site 'Y', but got one number a draw"),
    ],
)
def test_what_does_not_fit_is_refused(
    draws: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        to_arviz(draws, **options)


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
