"""The fixtures of tests/integration, and what stands in front: a balancer, or nginx and an application."""

import importlib.util
from pathlib import Path

import pytest
import balancer
import nginx as web_server
from application import Application
from instances import instances

_path = Path(__file__).resolve().parents[1] / "integration" / "conftest.py"
_spec = importlib.util.spec_from_file_location("integration_conftest", _path)
_shared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_shared)

pytest_configure = _shared.pytest_configure
pytest_runtest_makereport = _shared.pytest_runtest_makereport
shared_server, server, own_server = _shared.shared_server, _shared.server, _shared.own_server
redis, variant, launch, flood = _shared.redis, _shared.variant, _shared.launch, _shared.flood


def _until_the_end(create):
    """A function that creates, for a fixture: all are stopped when the test is over."""
    started = []

    def start(*args):
        started.append(create(*args))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def balance():
    """balance(daemons): a HAProxy that gives each connection to the next of them."""
    if balancer.PROGRAM is None:
        pytest.fail("haproxy is missing: run scripts/deps.sh test")
    yield from _until_the_end(balancer.Balancer)


@pytest.fixture
def nginx():
    """nginx(files, tickerd, application): with these files of conf/proxy, and these addresses."""
    if web_server.PROGRAM is None:
        pytest.fail("nginx is missing: run scripts/deps.sh test")
    yield from _until_the_end(web_server.Nginx)


@pytest.fixture
def application():
    app = Application()
    yield app
    app.stop()


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
