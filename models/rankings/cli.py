# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Command line of the scores from rankings with ties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pandas import DataFrame
from pyro.ops.stats import split_gelman_rubin
from torch import Tensor

from models.rankings.data import Ballots, DatasetName, Unranked, load_ballots, read_preflib
from models.rankings.figures import save_scores
from models.rankings.model import draw_scores, held_out
from models.runs.chains import ChainSettings, num_divergences
from models.runs.cli import one_line_errors, parse_settings
from models.runs.settings import Settings
from models.runs.tables import format_table

__all__ = ["main"]


@dataclass(frozen=True)
class Config(Settings):
    """Scores of alternatives from rankings with ties, by NUTS."""

    out: Path = Path("runs/rankings")
    """Directory of the results; those of a run that is there already are replaced."""
    dataset: DatasetName = "mariner"
    """Rankings that come with the models."""
    file: Path | None = None
    """Rankings of one's own in place of these, in the format of PrefLib (soc, soi, toc, toi)."""
    unranked: Unranked = "last"
    """Whether alternatives that a ranking leaves out are behind the others, or not looked at."""
    sampling: ChainSettings = ChainSettings()
    """Of NUTS."""
    breaks: int = 3
    """How often ties are broken at random for comparison."""

    def validate(self) -> None:
        super().validate()
        self.require_non_negative("breaks")


def main(args: Sequence[str] | None = None) -> None:
    """Run it all; a bad argument ends it with one line and exit code 2."""
    with one_line_errors():
        config = parse_settings(
            "python -m models.rankings", {"rankings": Config()}, args, chosen_by=()
        )
        ballots = (
            read_preflib(config.file, config.unranked)
            if config.file
            else load_ballots(config.dataset, config.unranked)
        )
        config.out.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(config.seed)
    seen = [ballots, *(ballots.broken(generator) for _ in range(config.breaks))]
    log_s = [_centered_draws(config, each) for each in seen]
    table = _scores(ballots, log_s)
    path, figure = config.out / "scores.csv", config.out / "scores.png"
    table.to_csv(path, index=False)
    means = [draws.mean(0) for draws in log_s]
    save_scores(figure, ballots.names, means[0], log_s[0].std(0), means[1:])
    _report(table, means, [held_out(ballots, each) for each in seen])
    print(f"table        {path}\nfigure       {figure}")


def _centered_draws(config: Config, ballots: Ballots) -> Tensor:
    """Log-scores less their mean, which rankings do not see, shape ``(draws, n)``."""
    mcmc = draw_scores(ballots, config.sampling, seed=config.seed)
    draws = mcmc.get_samples(group_by_chain=True)["log_s"]
    draws = draws - draws.mean(-1, keepdim=True)
    r_hat = float(split_gelman_rubin(draws).max())
    print(f"largest R-hat {r_hat:.3f}, {num_divergences(mcmc)} divergences")
    return draws.flatten(0, 1)


def _scores(ballots: Ballots, log_s: Sequence[Tensor]) -> DataFrame:
    exact = log_s[0]
    best = torch.nn.functional.one_hot(exact.argmax(-1), exact.shape[-1]).double().mean(0)
    columns = {
        "alternative": ballots.names,
        "mean": exact.mean(0).numpy(),
        "sd": exact.std(0).numpy(),
        "best": best.numpy(),
    }
    broken = {f"broken {i}": draws.mean(0).numpy() for i, draws in enumerate(log_s[1:], 1)}
    return DataFrame(columns | broken).sort_values("mean", ascending=False)


def _report(table: DataFrame, means: Sequence[Tensor], predictive: Sequence[float]) -> None:
    shown = table.head(10)
    columns = (shown[name] for name in ("alternative", "mean", "sd", "best"))
    rows = [(a, f"{m:.2f} ± {sd:.2f}", f"{b:.2f}") for a, m, sd, b in zip(*columns, strict=True)]
    print("\n" + format_table(("alternative", "log-score", "best with probability"), rows))
    for i, (mean, value) in enumerate(zip(means, predictive, strict=True)):
        name = f"ties broken at random, {i}" if i else "exact"
        spread = float((mean - mean.mean()).std())
        print(
            f"{name}: standard deviation of the log-scores {spread:.2f}, "
            f"log-probability of a ranking given the others {value:.2f}"
        )
