# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Every operation of the benchmark of scaling on the device, and what happens if one fails."""

import pytest
import torch

from benchmarks.scaling import NEEDED, OPERATIONS, Case, Settings, measure, measure_all

# Ranks are computed on the CPU from values, which tensors on the meta device do not have.
WITHOUT_VALUES = [operation for operation in OPERATIONS if not operation.startswith("ranks")]


def run(operation: str, device: str) -> None:
    pytest.importorskip(NEEDED.get(operation, "torch"))
    measure(Case(operation, device, "float32", 3, 2, 1, 16), repetitions=1, max_seconds=20.0)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operation(operation: str, device: torch.device) -> None:
    run(operation, device.type)


@pytest.mark.parametrize("operation", WITHOUT_VALUES)
def test_every_tensor_is_on_the_device(operation: str) -> None:
    run(operation, "meta")


def test_what_fails_is_told_and_the_rest_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(
        operations=("unknown", "sample"),
        elements=(16,),
        subsets=(3,),
        samples=(1,),
        dtypes=("float32",),
        repetitions=1,
    )
    ((case, _),) = measure_all(settings)
    assert case == Case("sample", "cpu", "float32", 3, 1, 1, 16)
    assert capsys.readouterr().out == "unknown, n=16: KeyError: 'unknown'\n"
