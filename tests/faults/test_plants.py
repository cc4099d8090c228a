"""Every planted bug is caught, with the right words, by a fixed seed within a bounded time; without
one the same build passes. TICKERD names a build with PLANTS=1."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TORTURE = Path(__file__).resolve().parent / "torture"
BINARY = os.environ.get("TICKERD", "build/asan-plants/tickerd")


def torture(*words):
    return subprocess.run([sys.executable, TORTURE, "--binary", BINARY, *words], timeout=150,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


@pytest.mark.parametrize("plant, profile, seed, words", [
    ("drop", "single", 5, "lost without a gap"),
    ("twice", "single", 5, "on one connection"),
    ("gap", "slow", 5, "lost without a gap"),
    # Where the byte is missing is chance: in the body, its head, or the name of a field.
    ("torn", "slow", 5, "is not what was published|not a message that|lost without a gap|id "),
    ("resume", "single", 5, "lost without a gap"),
    ("upstream", "single", 2, "lost without a gap"),
    ("needless", "slow", 5, "a gap of reason upstream though nothing was broken"),
])
def test_a_planted_bug_is_caught(plant, profile, seed, words):
    run = torture("--minutes", "0.6", "--profile", profile, "--seed", str(seed), "--plant", plant)
    assert run.returncode == 1, run.stdout
    assert re.search("FAILURE.*(" + words + ")", run.stdout), run.stdout
    assert run.stdout.endswith("1 failed\nFAIL\n"), run.stdout
    assert f"--plant {plant}" in run.stdout.partition("repeat: ")[2]


@pytest.mark.parametrize("profile", ["single", "slow"])
def test_the_same_build_without_a_bug_passes(profile):
    run = torture("--minutes", "0.15", "--profile", profile, "--seed", "5")
    assert run.returncode == 0 and run.stdout.endswith("1 passed, 0 failed\nPASS\n"), run.stdout
