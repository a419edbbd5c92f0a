# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What a run on one's own data leaves: files, figures, and lines that say what they show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning.fabric.utilities import rank_zero_only

from models.data import Items
from models.runs.tables import format_table, mean_and_std, write_csv
from models.vc.config import Config
from models.vc.data import ClusterData
from models.vc.evaluate import Scores
from models.vc.experiment import Result
from models.vc.networks import encode
from models.vc.own import Fitted, probabilities
from models.vc.own_figures import save_members, save_profiles, save_projection

__all__ = ["RESULTS", "describe", "report"]

CLUSTERS, MODEL = "clusters.csv", "model.pt"
PROJECTION, PROFILES, MEMBERS = "projection.png", "profiles.png", "members.png"
RESULTS = (CLUSTERS, MODEL, PROJECTION, PROFILES, MEMBERS)

_CERTAIN = 0.9


def describe(config: Config, items: Items) -> str:
    """Say what was read, and what will be done with it."""
    networks, shape = config.networks, items.values.shape
    what = f"rows of {shape[1]} features"
    if items.are_images:
        channels, height, width = shape[1:]
        what = f"images of {height} x {width} pixels, {'grey' if channels == 1 else 'coloured'}"
    scale = "values from 0 to 1" if networks.likelihood == "pixels" else "standardised values"
    layers = " - ".join(map(str, networks.hidden)) or "none (linear)"
    lines = {
        "data": f"{config.own.data}, {shape[0]} {what}",
        "likelihood": f"{networks.likelihood}, {scale}",
        "networks": f"hidden layers {layers}, {networks.latent_dim} latent dimensions",
        "clusters": f"{networks.num_clusters}, {networks.covariance} covariances, "
        f"{config.partition.sizes_law} sizes",
    }
    return "\n".join(f"{name:<13}{line}" for name, line in lines.items())


@rank_zero_only
def report(config: Config, items: Items, data: ClusterData, fitted: Fitted) -> None:
    """Write the clusters and the figures, and print what to look at."""
    out, clusters = config.out, fitted.clusters
    probs = probabilities(fitted.network, fitted.priors, data.train, config.training.beta)
    K = probs.shape[-1]
    header = ("id", "cluster", *(f"probability_{k}" for k in range(K)))
    rows = zip(items.ids, clusters.tolist(), probs.tolist(), strict=True)
    write_csv(out / CLUSTERS, header, ((name, k, *p) for name, k, p in rows))
    certain = (probs.amax(-1) >= _CERTAIN).float().mean().item()
    print(f"\nsizes        {', '.join(map(str, clusters.bincount(minlength=K).tolist()))}")
    print(f"certain      {certain:.0%} of the items are at least {_CERTAIN:.0%} sure\n")
    print(format_table(("", "loss per item", *Scores._fields), _rows(config, fitted.results)))
    print(f"\nclusters     {out / CLUSTERS}\nmodel        {out / MODEL}")
    means = encode(fitted.network.encoder, data.train)
    save_projection(out / PROJECTION, means, clusters, K)
    _print_figure(out / PROJECTION, "do the clusters fall apart, or are they one cloud in pieces?")
    if items.are_images:
        save_members(out / MEMBERS, data.train, clusters, probs)
        _print_figure(out / MEMBERS, "does each row, a cluster, show one thing?")
    else:
        save_profiles(out / PROFILES, items.columns, data.train, clusters, K)
        _print_figure(out / PROFILES, "in which features do the clusters differ?")


def _print_figure(path: Path, question: str) -> None:
    print(f"figure       {path}  {question}")


def _rows(config: Config, results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Losses and scores of every method; nothing where there are none."""
    rows = []
    for method in config.methods:
        own = [result for result in results if result.method == method]
        losses = [result.loss for result in own if result.loss is not None]
        scores = [result.scores for result in own if result.scores is not None]
        loss = mean_and_std(losses) if losses else ""
        means = tuple(map(mean_and_std, zip(*scores, strict=True))) or ("",) * len(Scores._fields)
        rows.append((method, loss, *means))
    return rows
