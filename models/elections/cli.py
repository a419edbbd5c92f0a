# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Command line of the posterior of elections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pandas import DataFrame, concat
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from scipy.stats import chisquare
from torch import Tensor

from models.elections.calibration import calibration_ranks, rank_counts
from models.elections.data import Elections, load_elections
from models.elections.figures import save_leans, save_ranks
from models.elections.forecast import draw_forecast
from models.elections.inference import draw_posterior, fit_guide
from models.elections.summary import summarize
from models.runs.chains import ChainSettings, num_divergences
from models.runs.cli import one_line_errors, parse_settings
from models.runs.settings import Settings
from models.runs.tables import format_table
from pyro_drpm.partitions import partition_diagnostics

__all__ = ["main"]

_GUIDES = {"mean-field": AutoNormal, "multivariate": AutoMultivariateNormal}
_RANKED_DRAWS, _BINS = 99, 10


@dataclass(frozen=True)
class Config(Settings):
    """Infer how states lean from presidential elections, with NUTS and with SVI."""

    out: Path = Path("runs/elections")
    """Directory of the results; those of a run that is there already are replaced."""
    sampling: ChainSettings = ChainSettings(chains=4, warmup=500)
    """Of NUTS."""
    svi_steps: int = 3000
    """Steps of each guide."""
    replications: int = 200
    """Data sets of the simulation-based calibration; 0 leaves it out."""
    forecast: bool = True
    """Predict the last election from those before it, by Gibbs sampling and NUTS."""
    called: tuple[str, ...] = ()
    """States of the last election that are known when the others are predicted: FL OH, say."""

    def validate(self) -> None:
        super().validate()
        self.require_positive("svi_steps")
        self.require_non_negative("replications")
        if self.sampling.chains < 2:  # what R-hat needs
            raise ValueError(f"chains must be at least 2, but is {self.sampling.chains}")


def main(args: Sequence[str] | None = None) -> None:
    """Run it all; a bad argument ends it with one line and exit code 2."""
    with one_line_errors():
        config = parse_settings(
            "python -m models.elections", {"elections": Config()}, args, chosen_by=()
        )
        config.out.mkdir(parents=True, exist_ok=True)
        elections = load_elections()
        unknown = [state for state in config.called if state not in elections.states]
        if unknown:
            raise ValueError(
                f"called must be states of {' '.join(elections.states)}, but has {unknown[0]}"
            )
    _report_posterior(config, elections)
    if config.forecast:
        _report_forecast(config, elections)
    if config.replications:
        _report_calibration(config)


def _report_posterior(config: Config, elections: Elections) -> None:
    mcmc = draw_posterior(
        elections.partitions,
        config.sampling,
        seed=config.seed,
    )
    summaries = {"NUTS": summarize(mcmc, elections)}
    for name, guide_type in _GUIDES.items():
        draws, _ = fit_guide(
            elections.partitions, guide_type, num_steps=config.svi_steps, seed=config.seed
        )
        summaries[name] = summarize(draws, elections)
    table, figure = config.out / "posterior.csv", config.out / "leans.png"
    concat(summaries, names=["method", "parameter"]).to_csv(table)
    save_leans(figure, elections, summaries)
    print("\n" + format_table(("", *summaries), _rows(summaries)))
    nuts = summaries["NUTS"]
    print(
        f"\n{config.sampling.chains} chains of {config.sampling.draws} draws: "
        f"{num_divergences(mcmc)} divergences, "
        f"largest R-hat {nuts['r_hat'].max():.4f}, "
        f"smallest effective sample size {nuts['ess_bulk'].min():.0f}"
    )
    print(f"posterior    {table}\nfigure       {figure}")


def _rows(summaries: Mapping[str, DataFrame]) -> Iterator[tuple[str, ...]]:
    for name in summaries["NUTS"].index:
        cells = (table.loc[name, ["mean", "sd"]] for table in summaries.values())
        yield name, *(f"{mean:.2f} ± {sd:.2f}" for mean, sd in cells)


def _report_forecast(config: Config, elections: Elections) -> None:
    before, last = elections.partitions[:-1], elections.partitions[-1]
    is_called = torch.tensor([state in config.called for state in elections.states])
    mcmc = draw_forecast(
        before,
        torch.where(is_called, last[0], torch.nan) if config.called else None,
        config.sampling,
        seed=config.seed,
    )
    Y = mcmc.get_samples(group_by_chain=True)["Y_next"]
    votes = Y.flatten(0, 1)[:, 0]
    columns = {
        "state": elections.states,
        "republican": last[0].numpy(),
        "called": is_called.numpy(),
        "probability": votes.mean(0).numpy(),
        "share of earlier years": before[:, 0].mean(0).numpy(),
    }
    table, path = DataFrame(columns), config.out / "forecast.csv"
    table.to_csv(path, index=False)
    number = votes.sum(-1)
    print(f"\n{elections.years[-1]} from the elections before, Republican with a probability of")
    _print_forecast(table[~table["called"]])
    print(f"Republican states {number.mean():.1f} ± {number.std():.1f}, truth {last[0].sum():.0f}")
    print(f"largest R-hat of the partitions {partition_diagnostics(Y).r_hat.max():.3f}")
    print(f"table        {path}")


def _print_forecast(table: DataFrame) -> None:
    """Print the states that are in doubt, and mean squared errors of all."""
    doubtful = table[table["probability"].between(0.1, 0.9)].sort_values("probability")
    shown = zip(doubtful["state"], doubtful["probability"], doubtful["republican"], strict=True)
    rows = [(state, f"{chance:.2f}", f"{truth:.0f}") for state, chance, truth in shown]
    print(format_table(("state", "probability", "truth"), rows))
    for name in ("probability", "share of earlier years"):
        error = ((table[name] - table["republican"]) ** 2).mean()
        print(f"mean squared error of the {name} {error:.3f}")


def _report_calibration(config: Config) -> None:
    ranks = calibration_ranks(config.replications, num_draws=_RANKED_DRAWS, seed=config.seed)
    figure = config.out / "ranks.png"
    save_ranks(figure, ranks, _RANKED_DRAWS, _BINS)
    print(f"\ncalibration, {config.replications} data sets: chi-square of the ranks in tenths")
    print(format_table(("parameter", "p-value"), _uniformity(ranks)) + f"\nfigure       {figure}")


def _uniformity(ranks: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    for name, values in ranks.items():
        for i, of_parameter in enumerate(values.mT):
            counts = rank_counts(of_parameter, _RANKED_DRAWS, _BINS)
            yield f"{name}[{i}]", f"{chisquare(counts.numpy()).pvalue:.3f}"
