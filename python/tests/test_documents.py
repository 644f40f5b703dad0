"""Examples of the documentation, run; types, checked."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cbfit

ROOT = Path(__file__).parent.parent
MODULES = ["cbfit", "cbfit._linear", "cbfit._boost", "cbfit._weights", "cbfit._compare", "cbfit.torch"]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings(name):
    if name == "cbfit.torch":
        pytest.importorskip("torch", reason="torch is not installed")
    failed, tried = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert tried > 0 and failed == 0


def test_recipes_of_the_readme(tmp_path, monkeypatch, capsys):
    """Each recipe goes on with the names of those before it."""
    monkeypatch.chdir(tmp_path)
    recipes = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(recipes) == 3
    names: dict[str, object] = {}
    for recipe in recipes:
        needs = [name for name in ("torch", "pandas", "sklearn") if re.search(rf"\b(import|from) {name}\b", recipe)]
        absent = [name for name in needs if importlib.util.find_spec(name) is None]
        if absent:
            with capsys.disabled():
                print(f"\na recipe is left out: {', '.join(absent)} not installed")
            continue
        exec(compile(recipe, "README.md", "exec"), names)


def test_types_are_right():
    pytest.importorskip("mypy", reason="mypy is not installed")
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_stubs_name_what_there_is():
    stubs = (Path(cbfit.__file__).parent / "_core.pyi").read_text()
    there = {name for name in dir(cbfit._core) if not name.startswith("_")}
    assert there == set(re.findall(r"^(?:def|class) (\w+)", stubs, re.MULTILINE))
    methods = {name for name in dir(cbfit._core.Model) if not name.startswith("_")}
    assert methods == set(re.findall(r"^    def (\w+)", stubs, re.MULTILINE))
