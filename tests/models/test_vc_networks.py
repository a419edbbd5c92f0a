# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Laws of what is observed, and linear networks against principal components."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from torch.distributions import Normal

from models.vc.likelihoods import NormalLikelihood, PixelLikelihood
from models.vc.networks import Autoencoder


def test_normal_likelihood_has_the_scale_of_the_errors() -> None:
    torch.manual_seed(0)
    likelihood, scales = NormalLikelihood(3), torch.tensor([0.5, 1.0, 2.0])
    likelihood.fit_to(scales * torch.randn(100_000, 3))
    decoded, values = torch.randn(2, 4, 3)
    law = likelihood(decoded)
    torch.testing.assert_close(law.stddev[0].detach(), scales, rtol=0.02, atol=0)
    expected = Normal(decoded, law.stddev).log_prob(values).sum(-1)
    torch.testing.assert_close(law.log_prob(values), expected)


def test_normal_likelihood_is_never_sure() -> None:
    likelihood = NormalLikelihood(2)
    likelihood.fit_to(torch.zeros(5, 2))
    likelihood.log_scale.data -= 100
    assert likelihood(torch.zeros(2)).stddev.tolist() == pytest.approx([0.05, 0.05])


def test_pixels_may_be_grey() -> None:
    logits, grey = torch.randn(2, 5), torch.rand(2, 5)
    law = PixelLikelihood(5)(logits)
    chance = logits.sigmoid()
    expected = grey * chance.log() + (1 - grey) * (1 - chance).log()
    torch.testing.assert_close(law.log_prob(grey), expected.sum(-1))


def test_linear_networks_are_principal_components() -> None:
    features = torch.tensor(load_iris().data).float()
    network = Autoencoder(4, (), 2, "normal")
    network.set_to_components(features)
    components = PCA(2).fit(features.double().numpy())
    points = torch.as_tensor(components.transform(features.double().numpy())).float()
    means, _ = network.encoder(features)
    torch.testing.assert_close(means, points, rtol=1e-4, atol=1e-4)
    expected = torch.as_tensor(components.inverse_transform(points.double().numpy())).float()
    torch.testing.assert_close(network.decoder(means).mean, expected, rtol=1e-4, atol=1e-4)
    network.reset_scales(features, -2.0)
    _, scale = network.encoder(features)
    torch.testing.assert_close(scale.log(), torch.full_like(scale, -2.0))
    errors = (features - expected).square().mean(0).sqrt()
    found = network.decoder(means).stddev[0]
    torch.testing.assert_close(found[errors > 0.06], errors[errors > 0.06], rtol=1e-3, atol=0)


def test_products_may_be_less_precise() -> None:
    precise, rough = (Autoencoder(6, (32, 16), 3, precision=p) for p in ("float32", "bfloat16"))
    rough.load_state_dict(precise.state_dict())
    items = torch.rand(8, 6, requires_grad=True)
    means, _ = rough.encoder(items)
    decoded = rough.decoder(means).mean
    decoded.sum().backward()
    tensors = items, means, decoded, *(p.grad for p in rough.encoder.hidden.parameters())
    assert {x.dtype for x in tensors if x is not None} == {torch.float32}
    expected = precise.decoder(precise.encoder(items)[0]).mean
    assert not decoded.equal(expected)
    torch.testing.assert_close(decoded, expected, rtol=0.02, atol=0)
