"""The command line and the configuration, as a user meets them."""

import json
import os
import re
import socket

import pytest
from harness import ROOT, settle
from harness.daemon import run


@pytest.fixture
def config_file(tmp_path):
    def write(content):
        path = tmp_path / "tickerd.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
        return path
    return write


def test_version_and_help():
    version = run("--version")
    assert version.returncode == 0 and re.fullmatch(r"tickerd \d+\.\d+\.\d+\S*\n", version.stdout)
    usage = run("--help")
    assert usage.returncode == 0 and usage.stderr == ""
    for word in ("--config", "--listen", "--redis", "--workers", "--set", "--check-config",
                 "--print-config", "--version", "--help", "history.events", "redis.prefix",
                 "drain.timeout"):
        assert word in usage.stdout, word


@pytest.mark.parametrize("args", [["--nonsense"], ["--set"], ["--set", "history.events"],
                                  ["--config"], ["extra"], ["--workers", "x"]])
def test_wrong_usage(args):
    result = run(*args)
    assert result.returncode not in (0, None) and result.stderr and not result.stdout


def test_the_defaults_are_good():
    result = run("--check-config")
    assert result.returncode == 0, result.stderr


def test_the_reference_file_agrees():
    path = ROOT / "conf" / "tickerd.json"
    if not path.exists():
        pytest.skip("conf/tickerd.json is not there yet")
    assert run("--check-config", "--config", path).returncode == 0
    assert json.loads(run("--print-config", "--config", path).stdout) == \
        json.loads(run("--print-config").stdout)


WRONG = [
    ({"histroy": {"events": 5}}, r"histroy"),
    ({"history": {"evnts": 5}}, r"history\.evnts"),
    ({"history": {"events": "many"}}, r"history\.events"),
    ({"history": {"events": -1}}, r"history\.events"),
    ({"history": {"age": "10 parsecs"}}, r"history\.age"),
    ({"history": 5}, r"history"),
    ({"redis": {"mode": "some"}}, r"redis\.mode.*(all|on-demand)"),
    ({"redis": {"url": "http://x"}}, r"redis\.url"),
    ({"listen": ["nonsense"]}, r"listen"),
    ({"listen": []}, r"listen"),
    ({"stream": {"heartbeat": "10ms"}}, r"stream\.heartbeat"),
    ({"limits": {"message_bytes": "64XB"}}, r"limits\.message_bytes"),
    ({"channels": [{"payload": "raw"}]}, r"match"),
    ({"channels": [{"match": "a", "payload": "cooked"}]}, r"payload"),
    ({"channels": [{"match": "a", "colour": "red"}]}, r"colour"),
    ({"cors": {"origins": ["*"]}}, r"cors"),
    ({"cors": {"origins": ["example.org/x"]}}, r"cors\.origins"),
    ({"resume": {"window": "1s"}}, r"resume\.window"),
    ({"log": {"level": "loud"}}, r"log\.level"),
    ({"auth": {"mode": "required"}}, r"auth\.mode.*auth\.keys or auth\.jwks_file"),
    ({"auth": {"keys": [{"alg": "HS256"}]}}, r"auth\.keys\[0\].*file or env"),
    ({"auth": {"keys": [{"alg": "none", "file": "/f"}]}}, r"auth\.keys\[0\]\.alg.*ES384"),
    ("[]", r""), ("", r""), ("{", r"\.json:1\b"), ('{"a":1,}', r"\.json:1\b"),
    ('{"history":{"events":5,"events":6}}', r"events"),
]


@pytest.mark.parametrize("content,named", WRONG, ids=lambda v: str(v)[:40])
def test_errors_in_the_file_are_named(config_file, content, named):
    path = config_file(content)
    result = run("--check-config", "--config", path)
    assert result.returncode != 0
    assert str(path) in result.stderr, result.stderr
    assert re.search(named, result.stderr), result.stderr
    started = run("--config", path)
    assert started.returncode != 0 and re.search(named, started.stderr)


def test_the_line_is_right(config_file):
    path = config_file('{\n  "history": {\n    "events": 5,\n    "age": "never"\n  }\n}\n')
    result = run("--check-config", "--config", path)
    assert re.search(re.escape(str(path)) + r":4\b", result.stderr), result.stderr
    assert "history.age" in result.stderr and "never" in result.stderr


def test_all_errors_are_reported_at_once(config_file):
    path = config_file({"history": {"events": -1}, "redis": {"mode": "x"}, "zzz": 1})
    result = run("--check-config", "--config", path)
    for word in ("history.events", "redis.mode", "zzz"):
        assert word in result.stderr


@pytest.mark.parametrize("setting", ["history.events=x", "nosuch=1", "stream.heartbeat=1ms",
                                     "listen=[1]", "channels=x", "workers=-1", "=1"])
def test_errors_on_the_command_line(setting):
    result = run("--check-config", "--set", setting)
    assert result.returncode != 0 and setting.split("=")[0] in result.stderr


def test_a_missing_file(tmp_path):
    path = tmp_path / "none.json"
    result = run("--check-config", "--config", path)
    assert result.returncode != 0 and str(path) in result.stderr


def printed(*args, env=None):
    result = run("--print-config", *args, env=env)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_print_config_goes_round(config_file):
    changes = ["--set", "history.events=50", "--set", "stream.retry=1500ms", "--workers", "3",
               "--set", 'channels=[{"match":"a.*","payload":"raw","history":{"age":"1m"}}]',
               "--set", 'listen=["127.0.0.1:9","unix:/tmp/x"]', "--set", "history.bytes=64KiB",
               "--set", 'cors.origins=["https://a.example"]', "--redis", "redis://u@h:1"]
    first = printed(*changes)
    assert first["history"]["events"] == 50 and first["workers"] == 3
    path = config_file(first)
    assert printed("--config", path) == first
    assert run("--check-config", "--config", path).returncode == 0


def test_the_command_line_beats_the_file_beats_the_default(config_file):
    path = config_file({"history": {"events": 7, "age": "3m"}, "redis": {"url": "redis://file:1"}})
    got = printed("--config", path, "--set", "history.events=9")
    assert got["history"]["events"] == 9
    assert got["history"]["age"] in ("3m", "180s")
    assert got["redis"]["prefix"] == "sse:"
    env = {"TICKERD_REDIS_URL": "redis://env:2"}
    assert printed("--config", path, env=env)["redis"]["url"] == "redis://env:2"
    assert printed("--config", path, "--redis", "redis://cmd:3", env=env)["redis"]["url"] == \
        "redis://cmd:3"


def test_passwords_are_not_printed():
    env = {"TICKERD_REDIS_URL": "redis://user:s3cr3t@127.0.0.1:1"}
    result = run("--print-config", env=env)
    assert "s3cr3t" not in result.stdout + result.stderr
    wrong = run("--check-config", env={"TICKERD_REDIS_URL": "redis://user:s3cr3t@h:99999"})
    assert wrong.returncode != 0 and "s3cr3t" not in wrong.stdout + wrong.stderr


def test_keys_are_checked_before_the_start(config_file, tmp_path):
    """A key that is missing or unfit ends --check-config and a start alike; none is ever shown."""
    secret = tmp_path / "secret"
    path = config_file({"auth": {"mode": "required", "keys": [
        {"alg": "HS256", "file": str(secret)}, {"alg": "HS256", "env": "TICKERD_TEST_SECRET"}]}})
    secret.write_text("s3cr3t\n")
    secret.chmod(0o600)
    for args in (["--check-config"], []):
        result = run(*args, "--config", path)
        assert result.returncode == 1
        assert re.search(r"auth\.keys\[0\].*" + re.escape(str(secret)) + r".*6 bytes.*at least 32",
                         result.stderr), result.stderr
        assert re.search(r"auth\.keys\[1\].*not set", result.stderr), result.stderr
        assert "s3cr3t" not in result.stdout + result.stderr
    secret.write_text("0123456789abcdef" * 2 + "\n")
    env = {"TICKERD_TEST_SECRET": "s3cr3t" * 6}
    result = run("--check-config", "--config", path, env=env)
    assert result.returncode == 0 and "warn" not in result.stderr, result.stderr
    shown = run("--print-config", "--config", path, env=env).stdout
    assert str(secret) in shown and "TICKERD_TEST_SECRET" in shown and "s3cr3t" not in shown
    secret.chmod(0o644)
    result = run("--check-config", "--config", path, env=env)
    assert result.returncode == 0 and re.search("warn.*everybody", result.stderr), result.stderr


def test_a_listener_that_is_taken(server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("--listen", f"127.0.0.1:{port}", "--redis", server.url)
        assert result.returncode not in (0, None) and result.returncode > 0
        assert str(port) in result.stderr and re.search("(?i)in use", result.stderr)


@pytest.mark.workers
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_that_another_instance_serves(launch, server, host):
    """SO_REUSEPORT is for our own workers, not for a second start by mistake."""
    tickerd = launch(listen=(f"{host}:0",))
    port = tickerd.address[1]
    result = run("--listen", f"{host}:{port}", "--redis", server.url)
    assert result.returncode == 1, result.stderr
    assert str(port) in result.stderr and re.search("(?i)in use", result.stderr)
    assert tickerd.get("/healthz").status == 200


def test_a_fixed_port_can_be_served_again(launch, redis):
    """Old connections in TIME_WAIT do not hold the port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    tickerd = launch(listen=(f"127.0.0.1:{port}",), workers=3)
    with tickerd.stream("/events/news"):
        tickerd.restart()
    with tickerd.stream("/events/news") as stream:
        assert settle(stream, redis, "news") == []


def test_too_few_files_to_start(server):
    result = run("--workers", 64, "--redis", server.url, "--listen", "127.0.0.1:0", nofile=256)
    assert result.returncode == 1, result.stderr
    for word in ("256", "64 workers", "LimitNOFILE"):
        assert word in result.stderr


def test_redis_url_from_the_environment(launch, server, redis):
    tickerd = launch(url=None, env={"TICKERD_REDIS_URL": server.unix_url})
    with tickerd.stream("/events/news") as stream:
        assert settle(stream, redis, "news") == []


def test_a_config_file_serves(launch, redis):
    tickerd = launch(config={"redis": {"prefix": "p:"}, "channels": [
        {"match": "*", "payload": "raw"}]})
    with tickerd.stream("/events/news") as stream:
        redis.publish("news", '{"data":1}', prefix="p:")
        assert stream.wait_messages(1)[0].data == '{"data":1}'


def test_json_logs_are_objects_from_the_first_line_on(launch):
    tickerd = launch(sets={"log.format": "json"})
    tickerd.get("/nothing")
    tickerd.finish()
    lines = tickerd.log().splitlines()
    assert len(lines) >= 3
    for line in lines:
        assert {"time", "level", "message"} <= set(json.loads(line)), line


def test_the_log_says_what_was_started(launch, server):
    tickerd = launch()
    assert re.search(r"info +tickerd \d+\.\d+\.\d+\S* ready: ", tickerd.log())
    assert re.search(r"info +listening on 127\.0\.0\.1:\d+", tickerd.log())
    assert str(server.port) in tickerd.log()


def test_payloads_and_tokens_are_not_logged(launch, redis):
    tickerd = launch(sets={"log.level": "debug", "log.access": True})
    with tickerd.stream("/events/news?token=t0ken", headers={"Authorization": "Bearer b3arer"}) \
            as stream:
        redis.publish("news", "pay10ad")
        stream.wait_messages(1)
    tickerd.get("/nothing?token=t0ken")
    tickerd.finish()
    for secret in ("t0ken", "b3arer", "pay10ad"):
        assert secret not in tickerd.log()


def test_access_log(launch):
    tickerd = launch(sets={"log.access": True}, log_level="info")
    tickerd.stream("/events/news").close()
    tickerd.get("/nothing")
    tickerd.wait_log(r"/events/news")
    tickerd.wait_log(r"404")


def test_log_lines_cannot_be_forged(launch):
    tickerd = launch(sets={"log.access": True})
    tickerd.get("/events/a%0a2026-01-01T00:00:00.000Z%20error%20forged")
    tickerd.get("/nothing", headers=[("User-Agent", "x\x1b[2Jy")])
    tickerd.finish()
    assert "\x1b" not in tickerd.log()
    assert not re.search(r"^2026-01-01T00:00:00.000Z", tickerd.log(), re.M)
    assert os.linesep + "forged" not in tickerd.log()
