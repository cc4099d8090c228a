"""The fixtures of tests/integration, and a balancer in front of several instances."""

import importlib.util
from pathlib import Path

import pytest
from balancer import PROGRAM, Balancer
from instances import instances

_path = Path(__file__).resolve().parents[1] / "integration" / "conftest.py"
_spec = importlib.util.spec_from_file_location("integration_conftest", _path)
_shared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_shared)

pytest_configure = _shared.pytest_configure
pytest_runtest_makereport = _shared.pytest_runtest_makereport
shared_server, server, own_server = _shared.shared_server, _shared.server, _shared.own_server
redis, variant, launch, flood = _shared.redis, _shared.variant, _shared.launch, _shared.flood


@pytest.fixture
def balance():
    """balance(daemons): a HAProxy that gives each connection to the next of them."""
    if PROGRAM is None:
        pytest.fail("haproxy is missing: run scripts/deps.sh test")
    started = []

    def start(daemons):
        started.append(Balancer(daemons))
        return started[-1]

    yield start
    for balancer in started:
        balancer.stop()


@pytest.fixture
def fleet(launch, redis):
    """fleet(mode, count, …): instances that know the window of the past."""
    started = []

    def start(mode, count=2, sets=None, envs=None):
        started.extend(instances(launch, redis, mode, count, sets, envs))
        return started[-count:]

    yield start
    for daemon in started:
        daemon.keeper.close()
