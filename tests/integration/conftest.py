"""Fixtures of the black-box tests: a Redis, and daemons that are judged when the test is over."""

import collections

import pytest

from harness import BINARY, Daemon, Flood, RedisServer

Variant = collections.namedtuple("Variant", "workers mode")


def pytest_generate_tests(metafunc):
    """Marks that multiply a test by the ways a daemon can run:
    `matrix` all of them, `both` the two extremes, `workers` one and four, `modes` the two."""
    variants = {
        "matrix": [(1, "all"), (4, "all"), (1, "on-demand"), (4, "on-demand")],
        "both": [(1, "all"), (4, "on-demand")],
        "workers": [(1, "all"), (4, "all")],
    }
    for name, values in variants.items():
        if metafunc.definition.get_closest_marker(name):
            metafunc.parametrize("variant", [Variant(*v) for v in values], indirect=True,
                                 ids=[f"{w}-{m}" for w, m in values])


def pytest_collection_modifyitems(items):
    for item in items:
        params = getattr(item, "callspec", None) and item.callspec.params or {}
        if max(getattr(params.get("variant"), "workers", 1), params.get("workers", 1)) > 1:
            item.add_marker(pytest.mark.threads)


def pytest_configure(config):
    for line in ("matrix: with 1 and 4 workers, in both Redis modes",
                 "both: with 1 worker in mode all, and 4 in mode on-demand",
                 "workers: with 1 and with 4 workers"):
        config.addinivalue_line("markers", line)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the end of its daemons' logs."""
    report = (yield).get_result()
    if report.failed:
        for daemon in getattr(item, "daemons", ()):
            report.sections.append((f"tickerd {daemon.pid}", daemon.log()[-6000:]))


@pytest.fixture(scope="session")
def shared_server():
    """A Redis that the tests of one process use one after the other; Pub/Sub keeps no state."""
    server = RedisServer()
    yield server
    server.stop()


@pytest.fixture
def server(shared_server):
    """The server the daemon of this test talks to. Do not harm it: see own_server."""
    return shared_server


@pytest.fixture
def own_server():
    """A Redis for this test only: to be killed, stopped or reconfigured."""
    server = RedisServer()
    yield server
    server.stop()


@pytest.fixture
def redis(server):
    client = server.client()
    yield client
    client.close()


@pytest.fixture
def variant(request):
    return getattr(request, "param", Variant(1, "all"))


@pytest.fixture
def launch(request, server, variant):
    """Starts daemons: launch(sets={...}, redis=server, ...). All are judged at the end."""
    if not BINARY.exists():
        pytest.fail(f"{BINARY} is missing: build it first")
    request.node.daemons = []

    def start(redis=None, **options):
        options.setdefault("workers", variant.workers)
        options.setdefault("mode", variant.mode)
        url = redis if isinstance(redis, str) else (redis or server).url
        daemon = Daemon(options.pop("url", url), **options)
        request.node.daemons.append(daemon)
        return daemon

    yield start
    failures = []
    for daemon in request.node.daemons:
        try:
            daemon.finish()
        except AssertionError as failure:
            failures.append(str(failure))
    report = "\n\n".join(failures)
    for daemon in request.node.daemons:
        daemon.clean()
    request.node.daemons = []
    assert not failures, report


@pytest.fixture
def tickerd(launch):
    """A daemon as most tests want it."""
    return launch()


@pytest.fixture
def flood(server):
    """Starts publishers that end with the test: flood(["news"], rate=1000, path=server.path)."""
    started = []

    def start(channels, path=None, **options):
        started.append(Flood(path or server.path, channels, **options))
        return started[-1]

    yield start
    for publisher in started:
        publisher.kill()
