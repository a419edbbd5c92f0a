# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import math
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import chisquare
from torch import Tensor

from models.data import FactorDatasetName, FactorImages, factor_datasets, load_factor_images
from models.data.factor_files import TableImages, load_dsprites, load_mpi3d
from models.data.factors import SharedFactors

SIZES = (2, 3, 4, 5, 2)
MODES: list[SharedFactors] = ["first", "random"]
MPI3D_SIZES = ((2, 2, 2, 1, 1, 2, 3), (3, 3, 2, 1, 1, 2, 3))
DSPRITES_SIZES = (3, 2, 2, 2, 3)


class FactorPixels(FactorImages):
    """Images with one pixel, whose channels are the factors."""

    factor_names = ("a", "b", "c", "d", "e")
    factor_sizes = SIZES
    image_shape = (len(SIZES), 1, 1)
    device = torch.device("cpu")

    def images(self, factors: Tensor) -> Tensor:
        return factors[..., None, None] / 5


def is_uniform(counts: Tensor) -> bool:
    return bool(chisquare(counts.numpy()).pvalue > 1e-3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n_shared", range(len(SIZES) + 1))
def test_pairs_share_exactly_the_shared_factors(n_shared: int, mode: SharedFactors) -> None:
    torch.manual_seed(0)
    pair = FactorPixels().sample_pair(n_shared, 500, mode)
    assert pair.shared.dtype == torch.bool
    assert torch.equal(pair.shared.sum(-1), torch.full((500,), n_shared))
    assert torch.equal(pair.factors[:, 0] == pair.factors[:, 1], pair.shared)


def test_images_are_those_of_the_factors() -> None:
    torch.manual_seed(0)
    pair = FactorPixels().sample_pair(2, 50)
    assert pair.images.shape == (50, 2, 5, 1, 1)
    torch.testing.assert_close(pair.images[..., 0, 0] * 5, pair.factors.float())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n_shared", [0, 2, 4])
def test_both_views_are_uniform_on_all_images(n_shared: int, mode: SharedFactors) -> None:
    torch.manual_seed(0)
    number = math.prod(SIZES)
    pair = FactorPixels().sample_pair(n_shared, 100 * number, mode)
    for view in pair.factors.unbind(1):
        cells = np.ravel_multi_index(tuple(view.T.numpy()), SIZES)
        assert is_uniform(torch.bincount(torch.from_numpy(cells), minlength=number))


def test_differences_are_uniform() -> None:
    torch.manual_seed(0)
    first, second = FactorPixels().sample_pair(0, 20_000).factors.unbind(1)
    for factor, size in enumerate(SIZES):
        steps = (second - first)[:, factor] % size
        counts = torch.bincount(steps, minlength=size)
        assert counts[0] == 0
        if size > 2:
            assert is_uniform(counts[1:])


def test_the_first_factors_are_shared_unless_others_are_asked_for() -> None:
    shared = FactorPixels().sample_pair(3, 20).shared
    assert torch.equal(shared, torch.tensor([True, True, True, False, False]).expand(20, -1))


def test_random_subsets_are_uniform() -> None:
    torch.manual_seed(0)
    shared = FactorPixels().sample_pair(2, 20_000, "random").shared
    subsets = torch.tensor([[k in pair for k in range(5)] for pair in combinations(range(5), 2)])
    counts = (shared[:, None] == subsets).all(-1).sum(0)
    assert counts.sum() == 20_000
    assert is_uniform(counts)


@pytest.mark.parametrize("n_shared", [-1, 6])
def test_number_of_shared_factors_is_checked(n_shared: int) -> None:
    message = f"from 0 to 5, the number of factors, but is {n_shared}"
    with pytest.raises(ValueError, match=message):
        FactorPixels().sample_pair(n_shared, 4)


def test_unknown_choice_of_factors_is_quoted() -> None:
    with pytest.raises(ValueError, match="must be one of first, random, but is 'last'"):
        FactorPixels().sample_pair(2, 4, "last")  # type: ignore[arg-type]


def mpi3d_arrays(sizes: tuple[int, ...] = MPI3D_SIZES[0]) -> dict[str, NDArray[Any]]:
    shape = (math.prod(sizes), 64, 64, 3)
    return {"images": np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)}


def dsprites_arrays() -> dict[str, NDArray[Any]]:
    shape = (math.prod(DSPRITES_SIZES), 64, 64)
    classes = np.array([[0, *index] for index in np.ndindex(*DSPRITES_SIZES)])
    images = np.random.default_rng(0).integers(0, 2, shape, dtype=np.uint8)
    # The published file holds a pickled dictionary as well, which nobody has to read.
    metadata = np.array({"title": "dSprites"}, dtype=object)
    return {"imgs": images, "latents_classes": classes, "metadata": metadata}


def write(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez_compressed(path, **arrays)
    return path


@pytest.mark.parametrize("sizes", MPI3D_SIZES)
def test_mpi3d_is_read(sizes: tuple[int, ...], tmp_path: Path) -> None:
    arrays = mpi3d_arrays(sizes)
    data = load_mpi3d(write(tmp_path / "mpi3d_toy.npz", arrays), factor_sizes=MPI3D_SIZES)
    assert data.factor_sizes == sizes
    assert len(data.factor_names) == 7
    assert data.image_shape == (3, 64, 64)
    indices = list(np.ndindex(*sizes))
    images = data.images(torch.tensor(indices))
    expected = arrays["images"].reshape(*sizes, 64, 64, 3)
    for index, image in zip(indices, images, strict=True):
        pixels = expected[index].transpose(2, 0, 1) / 255
        np.testing.assert_allclose(image.numpy(), pixels, atol=1e-6)


def test_dsprites_is_read(tmp_path: Path) -> None:
    arrays = dsprites_arrays()
    data = load_dsprites(write(tmp_path / "sprites.npz", arrays), factor_sizes=DSPRITES_SIZES)
    assert data.factor_names == ("shape", "scale", "orientation", "x", "y")
    assert data.factor_sizes == DSPRITES_SIZES
    assert data.image_shape == (1, 64, 64)
    images = data.images(torch.from_numpy(arrays["latents_classes"][:, 1:]))
    assert images.dtype == torch.float32
    assert np.array_equal(images[:, 0].numpy(), arrays["imgs"])


def test_tables_are_not_copied() -> None:
    table = torch.zeros(6, 2, 3, 1, dtype=torch.uint8)
    data = TableImages(table, ("row", "column"), (2, 3))
    table[5] = 255
    assert torch.equal(data.images(torch.tensor([[1, 2]])), torch.ones(1, 1, 2, 3))


def test_tables_hold_an_image_for_each_combination() -> None:
    with pytest.raises(ValueError, match=r"sizes \(2, 3\) need 6 images, but there are 5"):
        TableImages(torch.zeros(5, 2, 2, 1, dtype=torch.uint8), ("row", "column"), (2, 3))


def test_lengths_are_those_of_the_published_files(tmp_path: Path) -> None:
    path = write(tmp_path / "mpi3d_toy.npz", mpi3d_arrays())
    with pytest.raises(ValueError, match=r"N = 460800 or 1036800, but .* \(48, 64, 64, 3\)"):
        load_mpi3d(path)
    path = write(tmp_path / "sprites.npz", dsprites_arrays())
    with pytest.raises(ValueError, match=r"N = 737280, but .* \(72, 64, 64\)"):
        load_dsprites(path)


@pytest.mark.parametrize(
    "broken",
    [
        mpi3d_arrays()["images"][:-1],
        mpi3d_arrays()["images"][..., :1],
        mpi3d_arrays()["images"][:, :32],
        mpi3d_arrays()["images"].astype(np.float32),
        np.array(3, dtype=np.uint8),
    ],
    ids=["length", "channels", "height", "dtype", "scalar"],
)
def test_layout_of_mpi3d_is_checked(broken: NDArray[Any], tmp_path: Path) -> None:
    path = write(tmp_path / "mpi3d_toy.npz", {"images": broken})
    with pytest.raises(ValueError, match=r"images in .*mpi3d_toy.npz must have the type uint8"):
        load_mpi3d(path, factor_sizes=MPI3D_SIZES)


@pytest.mark.parametrize(
    ("name", "broken", "message"),
    [
        ("imgs", dsprites_arrays()["imgs"][:, 1:], "imgs in .* must have the type uint8"),
        ("imgs", dsprites_arrays()["imgs"] * 255, "must be 0 or 1, but has the value 255"),
        ("latents_classes", dsprites_arrays()["latents_classes"][::-1], "in row-major order"),
        ("latents_classes", dsprites_arrays()["latents_classes"][:-1], r"shape is \(71, 6\)"),
    ],
)
def test_layout_of_dsprites_is_checked(
    name: str, broken: NDArray[Any], message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "sprites.npz", {**dsprites_arrays(), name: broken})
    with pytest.raises(ValueError, match=message):
        load_dsprites(path, factor_sizes=DSPRITES_SIZES)


@pytest.mark.parametrize("missing", ["imgs", "latents_classes"])
def test_missing_key_is_reported(missing: str, tmp_path: Path) -> None:
    arrays = dsprites_arrays()
    del arrays[missing]
    path = write(tmp_path / "sprites.npz", arrays)
    message = rf"{path} must hold the arrays imgs, latents_classes, but holds {', '.join(arrays)}"
    with pytest.raises(ValueError, match=message):
        load_dsprites(path, factor_sizes=DSPRITES_SIZES)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mpi3d_toy.npz does not exist or is no file"):
        load_mpi3d(tmp_path / "mpi3d_toy.npz")


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "mpi3d_toy.npz", mpi3d_arrays())
    intact = path.read_bytes()
    for content in (b"", b"no archive", intact[: len(intact) // 2], intact[:-10]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"mpi3d_toy.npz is no npz file, is truncated"):
            load_mpi3d(path, factor_sizes=MPI3D_SIZES)


def test_damage_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "mpi3d_toy.npz", mpi3d_arrays())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"mpi3d_toy.npz is corrupt"):
        load_mpi3d(path, factor_sizes=MPI3D_SIZES)


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "mpi3d_toy.npz", {"images": np.array([{}, None], dtype=object)})
    with pytest.raises(ValueError, match=r"mpi3d_toy.npz .* holds more than plain arrays"):
        load_mpi3d(path)


def test_scene_is_loaded_by_name() -> None:
    data = load_factor_images("scene", size=8)
    assert data.factor_sizes == (4, 4, 2, 3, 3, 40, 40)
    assert data.sample_pair(1, 3).images.shape == (3, 2, 3, 8, 8)


@pytest.mark.parametrize("nested", [True, False])
def test_files_are_loaded_by_name(
    nested: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directories = [tmp_path / name if nested else tmp_path for name in ("mpi3d", "dsprites")]
    for directory in directories:
        directory.mkdir(exist_ok=True)
    write(directories[0] / "mpi3d_toy.npz", mpi3d_arrays())
    dsprites = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
    write(directories[1] / dsprites, dsprites_arrays())
    small_mpi3d = partial(load_mpi3d, factor_sizes=MPI3D_SIZES)
    small_dsprites = partial(load_dsprites, factor_sizes=DSPRITES_SIZES)
    monkeypatch.setattr(factor_datasets, "load_mpi3d", small_mpi3d)
    monkeypatch.setattr(factor_datasets, "load_dsprites", small_dsprites)
    assert load_factor_images("mpi3d", tmp_path).factor_sizes == MPI3D_SIZES[0]
    assert load_factor_images("dsprites", tmp_path).factor_sizes == DSPRITES_SIZES


@pytest.mark.parametrize(
    ("name", "file"),
    [("mpi3d", "mpi3d_toy.npz"), ("dsprites", "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz")],
)
def test_needed_file_is_named(name: FactorDatasetName, file: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"get {file} by hand and pass its directory as data_dir"):
        load_factor_images(name)
    with pytest.raises(ValueError, match=f"{file} is missing: {name} needs it"):
        load_factor_images(name, tmp_path)


def test_unknown_dataset_is_quoted() -> None:
    with pytest.raises(ValueError, match="'mpi3d', 'dsprites'.*, but is 'cars'"):
        load_factor_images("cars")  # type: ignore[arg-type]
