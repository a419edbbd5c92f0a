# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The wheel holds the library alone and needs nothing but what it declares."""

import shutil
import subprocess
import sys
from email import message_from_string
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import pyro_drpm

ROOT = Path(__file__).parents[1]

# Runs in a fresh interpreter, in which the distributions that pyro-drpm does not depend on,
# directly or indirectly, look as if they were not installed.
IMPORT_EVERYTHING = """
import importlib, pkgutil, re, sys
from importlib.metadata import PackageNotFoundError, distributions, requires

def normalise(name):
    return re.sub("[-_.]+", "-", name).lower()

allowed, waiting = set(), ["pyro-ppl", "torch", "numpy"]
while waiting:
    name = normalise(waiting.pop())
    if name in allowed:
        continue
    allowed.add(name)
    try:
        requirements = requires(name) or []
    except PackageNotFoundError:  # needed on other platforms only
        continue
    waiting += [re.match("[-_.a-zA-Z0-9]+", r)[0] for r in requirements if "extra ==" not in r]

modules = {True: {"pyro_drpm"}, False: set()}
for distribution in distributions():
    names = {file.parts[0].split(".")[0] for file in distribution.files or []}
    modules[normalise(distribution.metadata["Name"]) in allowed] |= names
blocked = modules[False] - modules[True]
assert {"sklearn", "scipy", "pytest"} <= blocked, blocked

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocker())
sys.path.insert(0, sys.argv[1])
import pyro_drpm
assert pyro_drpm.__file__.startswith(sys.argv[1]), pyro_drpm.__file__
for module in pkgutil.walk_packages(pyro_drpm.__path__, "pyro_drpm."):
    importlib.import_module(module.name)
    print(module.name)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """The wheel, built from a copy so that the build leaves nothing behind in the tree."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for file in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / file, source)
    for package in ("pyro_drpm", "models", "tests", "benchmarks"):
        if (ROOT / package).exists():
            shutil.copytree(
                ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__")
            )
    command = "pip wheel . --no-deps --no-build-isolation --no-index --wheel-dir"
    subprocess.run(
        [sys.executable, "-m", *command.split(), str(output)],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (path,) = output.glob("*.whl")
    return ZipFile(path)


def test_wheel_holds_the_library_alone(wheel: ZipFile) -> None:
    (info,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    library = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "pyro_drpm").rglob("*")
        if path.suffix == ".py" or path.name == "py.typed"
    }
    assert "pyro_drpm/py.typed" in library
    assert {name for name in wheel.namelist() if not name.startswith(info)} == library
    assert f"{info}/licenses/LICENSE" in wheel.namelist()


def test_wheel_depends_on_numpy_pyro_and_torch_alone(wheel: ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = message_from_string(wheel.read(name).decode())
    requirements = [r for r in metadata.get_all("Requires-Dist", []) if "extra ==" not in r]
    assert {r.split(">=")[0] for r in requirements} == {"numpy", "pyro-ppl", "torch"}


def test_the_lowest_versions_that_are_tried_are_those_that_are_declared(wheel: ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = message_from_string(wheel.read(name).decode())
    declared = {}
    for requirement in map(Requirement, metadata.get_all("Requires-Dist", [])):
        for least in requirement.specifier:
            assert least.operator == ">=", requirement
            declared[requirement.name] = Version(least.version)
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    tried = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    # No other torch than that of constraints.txt is tried, and linters run in no old environment.
    assert {*declared} - {*tried} == {"torch", "mypy", "pandas-stubs", "ruff"}
    assert {name: Version(version) for name, version in tried.items()} == {
        name: version for name, version in declared.items() if name in tried
    }


def test_every_module_imports_without_the_extras(wheel: ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    result = subprocess.run(
        [sys.executable, "-I", "-c", IMPORT_EVERYTHING, str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "pyro_drpm.metrics" in result.stdout.split()


def test_version_changelog_and_citation_agree() -> None:
    version = pyro_drpm.__version__
    changelog, citation = (
        (ROOT / name).read_text(encoding="utf-8") for name in ("CHANGELOG.md", "CITATION.cff")
    )
    assert f"\nversion: {version}\n" in citation
    assert f'\nversion = "{version}"\n' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    # A release has a section; what is under development has none yet.
    assert (f"\n## [{version}]" in changelog) != version.endswith(".dev0")
