"""The fixtures of tests/integration, and what stands in front: one of the four proxies, a balancer, or
nginx and an application."""

import importlib.util
from pathlib import Path

import pytest
import balancer
import chromium as web_browser
import nginx as web_server
from application import Application
from fronts import FRONTS, program
from harness.certs import Authority
from harness.redis import free_port
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


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """Signs the certificates; `authority.pair` is one of a proxy."""
    made = Authority(tmp_path_factory.mktemp("tls") / "ca")
    made.pair = made.issue("localhost", "DNS:localhost", "IP:127.0.0.1")
    return made


@pytest.fixture(params=list(FRONTS))
def kind(request):
    """Each of the four proxies."""
    if program(request.param) is None:
        pytest.fail(f"{request.param} is missing: run scripts/deps.sh test")
    return FRONTS[request.param]


@pytest.fixture
def behind(kind, launch, authority):
    """behind(sets={…}, plant=…, …): a tickerd whose port stays, and the proxy before it, as
    `front.daemon`. `{port}` in a setting is the proxy's port."""
    started = []

    def start(sets=None, plant=None, listen=None, **options):
        port = free_port()
        address = ("127.0.0.1", free_port())
        own = {"proxy.trusted": ["127.0.0.1"], "stream.retry": "100ms", "stream.retry_jitter": "50ms"}
        given = {key: [v.replace("{port}", str(port)) for v in value]
                 if isinstance(value, list) and all(isinstance(v, str) for v in value) else value
                 for key, value in (sets or {}).items()}
        daemon = launch(listen=[listen or "%s:%d" % address], sets={**own, **given}, **options)
        front = kind(daemon.address, authority, authority.pair, plant, port)
        started.append(front)
        front.daemon = daemon
        return front

    yield start
    for front in started:
        front.stop()


@pytest.fixture(scope="session")
def chromium():
    if web_browser.PROGRAM is None:
        pytest.fail("chromium is missing: run scripts/deps.sh test")
    browser = web_browser.Chromium()
    yield browser
    browser.stop()


@pytest.fixture
def page(chromium):
    """page(url): a tab that shows it."""
    yield from _until_the_end(chromium.page)


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
