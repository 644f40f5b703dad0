"""Rows that tests share."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest


def command(*arguments, folder):
    """Runs the command in a process of its own."""
    run = [sys.executable, "-m", "cbfit", *map(str, arguments)]
    return subprocess.run(run, cwd=folder, capture_output=True, text=True)


def told(*arguments, folder):
    """What the command prints where it succeeds."""
    done = command(*arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def long_tail(seed: int = 0, counts: tuple[int, ...] = (300, 60, 15), features: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Rows around the means of classes, shuffled."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(scale=1.2, size=(len(counts), features))
    y = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return (centres[y] + rng.normal(size=(len(y), features))).astype(np.float32), y


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray]:
    return long_tail()


@pytest.fixture
def many_rows() -> tuple[np.ndarray, np.ndarray]:
    """More values than tables have that are put in order first."""
    return long_tail(counts=(50_000, 9_000, 700), features=20)
