# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Command line of the Cox regression of grouped times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pandas import DataFrame
from pyro.ops.stats import split_gelman_rubin

from models.runs.chains import ChainSettings, num_divergences
from models.runs.cli import one_line_errors, parse_settings
from models.runs.settings import Settings
from models.runs.tables import format_table
from models.survival.data import Rossi, load_rossi
from models.survival.figures import save_coefficients
from models.survival.regression import draw_coefficients, most_likely
from pyro_drpm.survival import CoxPartialLikelihood
from pyro_drpm.types import TieMethod

__all__ = ["main"]

_TRUTH = "as recorded"


@dataclass(frozen=True)
class Config(Settings):
    """Cox regression of arrests, by NUTS: exact ties beside two approximations."""

    out: Path = Path("runs/survival")
    """Directory of the results; those of a run that is there already are replaced."""
    weeks: tuple[int, ...] = (4, 13, 26)
    """Lengths of the periods into which times are grouped."""
    sampling: ChainSettings = ChainSettings()
    """Of NUTS."""

    def validate(self) -> None:
        super().validate()
        if not self.weeks or min(self.weeks) < 2 or max(self.weeks) > 52:
            raise ValueError(f"weeks must be lengths from 2 to 52, but are {self.weeks}")


def main(args: Sequence[str] | None = None) -> None:
    """Run it all; a bad argument ends it with one line and exit code 2."""
    with one_line_errors():
        config = parse_settings(
            "python -m models.survival", {"survival": Config()}, args, chosen_by=()
        )
        config.out.mkdir(parents=True, exist_ok=True)
    table = _posteriors(config, load_rossi().standardized())
    path, figure = config.out / "coefficients.csv", config.out / "coefficients.png"
    table.to_csv(path, index=False)
    save_coefficients(figure, table)
    _report(table)
    print(f"table        {path}\nfigure       {figure}")


def _posteriors(config: Config, data: Rossi) -> DataFrame:
    """A row for every way to group, method and covariate."""
    ties: tuple[TieMethod, ...] = get_args(TieMethod)
    rows = _rows(config, data, 1, "exact")
    for weeks in config.weeks:
        for method in ties:
            rows += _rows(config, data, weeks, method)
    return DataFrame(rows)


def _rows(config: Config, data: Rossi, weeks: int, ties: TieMethod) -> list[dict[str, object]]:
    print(f"{_TRUTH if weeks == 1 else f'periods of {weeks} weeks'}, {ties}")
    likelihood = CoxPartialLikelihood(data.grouped(weeks).week, data.arrest, ties=ties)
    maximum = most_likely(data.covariates, likelihood)
    mcmc = draw_coefficients(data.covariates, likelihood, config.sampling, seed=config.seed)
    draws = mcmc.get_samples(group_by_chain=True)["beta"]
    r_hat, divergences = split_gelman_rubin(draws), num_divergences(mcmc)
    draws = draws.flatten(0, 1)
    columns = (x.tolist() for x in (maximum, draws.mean(0), draws.std(0), r_hat))
    return [
        {
            "weeks": weeks,
            "ties": ties,
            "covariate": name,
            "maximum": m,
            "mean": mean,
            "sd": sd,
            "r_hat": r,
            "divergences": divergences,
        }
        for name, m, mean, sd, r in zip(data.names, *columns, strict=True)
    ]


def _report(table: DataFrame) -> None:
    """Print how far each posterior is from that of the times as they were recorded."""
    truth = table[table["weeks"] == 1].set_index("covariate")
    rows = []
    for (weeks, ties), group in table.groupby(["weeks", "ties"], sort=False):
        of = group.set_index("covariate")
        apart = (of["mean"] - truth["mean"]) / truth["sd"]
        rows.append(
            (
                _TRUTH if weeks == 1 else f"{weeks} weeks",
                str(ties),
                f"{of['maximum']['prio']:.4f}",
                f"{of['mean']['prio']:.3f} ± {of['sd']['prio']:.3f}",
                f"{(apart**2).mean() ** 0.5:.3f}",
                f"{of['r_hat'].max():.3f}",
                f"{of['divergences'].max():.0f}",
            )
        )
    header = ("times", "ties", "prio, most likely", "posterior", "apart", "R-hat", "divergences")
    print("\n" + format_table(header, rows))
    print("\napart: distance of the means from those of the times as recorded, in their standard")
    print("deviations, root mean square of all covariates")
