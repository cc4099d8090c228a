"""The life of the Debian package on this machine, one step after the other: built, judged by lintian,
installed, started as its unit starts it, upgraded, removed, purged."""

import json
import os
import pwd
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from harness import ROOT, RedisServer, Stream, poll_until, scaled
from harness.client import build, request
from harness.daemon import _LISTENING, _address
from harness.proc import end, spawn

CONFIG = Path("/etc/tickerd/tickerd.json")
DEFAULTS = Path("/etc/default/tickerd")
STATE = Path("/var/lib/tickerd")
UNITS = [Path(p) for p in ("/usr/lib/systemd/system", "/lib/systemd/system")]


def _installed():
    out = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", "tickerd"],
                         capture_output=True, text=True).stdout
    return out not in ("", "not-installed")


pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="installing a package takes root"),
    pytest.mark.skipif(shutil.which("dpkg-buildpackage") is None, reason="no Debian here"),
    pytest.mark.skipif(os.path.isdir("/run/systemd/system"),
                       reason="systemd runs here, and would start the service for everybody"),
]


def run(*argv, check=True, **options):
    done = subprocess.run([str(a) for a in argv], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT,
                          env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, **options)
    assert done.returncode == 0 or not check, f"{argv}: {done.stdout}"
    return done.stdout


def apt(*argv):
    return run("apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=300", "-o",
               "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold", *argv)


@pytest.fixture(scope="module")
def package():
    """The package; whatever the tests leave behind is purged."""
    if _installed():
        pytest.skip("a package tickerd is installed on this machine already")
    for path in (CONFIG.parent, DEFAULTS, STATE):
        if path.exists():
            pytest.skip(f"{path} is there, and a test that purges would remove it")
    run(ROOT / "scripts" / "package-deb.sh", cwd=ROOT)
    [package] = (ROOT / "build" / "deb").glob("tickerd_*.deb")
    yield package
    if _installed():
        apt("purge", "tickerd")
    if STATE.is_dir():
        shutil.rmtree(STATE)


def field(package, name):
    return run("dpkg-deb", "-f", package, name).strip()


def unit():
    [path] = {(d / "tickerd.service").resolve() for d in UNITS if (d / "tickerd.service").exists()}
    return path.read_text(encoding="utf-8")


def test_lintian_finds_no_error(package):
    said = run("lintian", "--allow-root", "--fail-on", "error", package)
    assert not re.search(r"^E:", said, re.M), said


def test_what_it_says_of_itself(package):
    listed = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert field(package, "Version") == re.search(r"^## \[(\d[^\]]*)\]", listed, re.M).group(1)
    for library in ("libuv1", "libhiredis", "libjansson", "libc6"):
        assert library in field(package, "Depends")
    files = run("dpkg-deb", "-c", package)
    assert "./usr/local" not in files
    for name in ("tickerd.json.5", "tickerd.8", "tickerd.socket", "proxy/", "changelog.gz",
                 "copyright"):
        assert name in files, name
    assert re.search(r"^-rw-r----- root/root .* \./etc/default/tickerd$", files, re.M), files


def test_it_installs(package):
    apt("install", "--no-install-recommends", package)
    said = run("tickerd", "--check-config", "--config", CONFIG)
    assert "the configuration is valid" in said
    assert run("tickerd", "--version") == f"tickerd {field(package, 'Version')}\n"
    shipped = json.loads(CONFIG.read_text(encoding="utf-8"))
    example = json.loads((ROOT / "conf" / "tickerd.json").read_text(encoding="utf-8"))
    assert shipped["state"] == {"file": "/var/lib/tickerd/state"}
    assert {**shipped, "state": None} == {**example, "state": None}
    wants = Path("/etc/systemd/system/multi-user.target.wants/tickerd.service")
    assert wants.is_symlink()  # it starts with the machine
    assert not Path("/etc/systemd/system/sockets.target.wants/tickerd.socket").is_symlink()
    assert run("man", "-w", "tickerd", "tickerd.json").count("tickerd") >= 2


class Service:
    """What systemd would start: the unit's command line, as another user, with what it prepares."""

    def __init__(self, log):
        self.log_path = log
        [line] = re.findall(r"^ExecStart=(.*)$", unit(), re.M)
        assert "StateDirectory=tickerd" in unit()
        nobody = pwd.getpwnam("nobody")
        STATE.mkdir(mode=0o700, exist_ok=True)
        os.chown(STATE, nobody.pw_uid, nobody.pw_gid)
        environment = {"PATH": "/usr/bin:/bin", "STATE_DIRECTORY": str(STATE)}
        for setting in DEFAULTS.read_text(encoding="utf-8").splitlines():
            if setting and not setting.startswith("#"):
                environment.update([setting.split("=", 1)])
        with open(log, "ab") as file:
            self.process = spawn(["setpriv", "--reuid=nobody", f"--regid={nobody.pw_gid}",
                                  "--clear-groups", "--no-new-privs", "--bounding-set=-all",
                                  *shlex.split(line)], stderr=file, env=environment, cwd="/")
        found = poll_until(self._listening, scaled(10), self.log)
        self.address = _address(found)
        poll_until(lambda: self.get("/readyz").status == 200, scaled(10), self.log)

    def _listening(self):
        assert self.process.poll() is None, self.log()
        text = self.log().rpartition("stopped:")[2]
        found = _LISTENING.search(text)
        return found.group(1) if found and "ready:" in text else None

    def get(self, target):
        return request(self.address, build(target, host="localhost"), timeout=5)

    def log(self):
        return Path(self.log_path).read_text(encoding="utf-8")

    def stop(self):
        self.process.terminate()
        assert self.process.wait(scaled(20)) == 0, self.log()


def test_it_serves_as_its_unit_starts_it(package, tmp_path):
    """And what is published before its restart is there after it."""
    del package
    redis = RedisServer()
    service = None
    try:
        settings = json.loads(CONFIG.read_text(encoding="utf-8"))
        settings.update(listen=["127.0.0.1:0"], admin=None, drain={"timeout": "100ms"})
        CONFIG.write_text(json.dumps(settings), encoding="utf-8")
        DEFAULTS.write_text(f"# edited\nTICKERD_REDIS_URL={redis.url}\n", encoding="utf-8")
        service = Service(tmp_path / "log")
        with Stream(service.address, "/events/news") as stream:
            stream.wait_open()
            redis.client().publish("news", "hello")
            assert stream.wait_messages(1)[0].data == "hello"
        service.stop()
        assert (STATE / "state").exists()
        service = Service(tmp_path / "log")
        with Stream(service.address, "/events/news?history=all") as stream:
            assert stream.wait_messages(1)[0].data == "hello"
        service.stop()
    finally:
        if service is not None:
            end(service.process)
        redis.stop()


def _next_version(package, folder):
    """The package again with a higher version, and another configuration in it."""
    tree = folder / "tree"
    run("dpkg-deb", "-R", package, tree)
    control = tree / "DEBIAN" / "control"
    version = field(package, "Version") + "+1"
    text = re.sub(r"^Version: .*$", f"Version: {version}", control.read_text(encoding="utf-8"),
                  flags=re.M)
    control.write_text(text, encoding="utf-8")
    config = tree / "etc" / "tickerd" / "tickerd.json"
    config.write_text(config.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    run("dpkg-deb", "--root-owner-group", "-b", tree, folder / "next.deb")
    return folder / "next.deb", version


def test_an_upgrade_keeps_what_was_edited(package, tmp_path):
    before = CONFIG.read_bytes(), DEFAULTS.read_bytes()
    following, version = _next_version(package, tmp_path)
    apt("install", "--no-install-recommends", following)
    assert run("dpkg-query", "-W", "-f", "${Version}", "tickerd") == version
    assert (CONFIG.read_bytes(), DEFAULTS.read_bytes()) == before
    assert (STATE / "state").exists()
    run("tickerd", "--check-config", "--config", CONFIG)


def test_removing_stops_the_socket_and_then_the_service(package):
    """The other way round, or with the service alone, the socket would start it again."""
    prerm = run("dpkg-deb", "-I", package, "prerm")
    assert prerm.index("stop tickerd.socket") < prerm.index("stop 'tickerd.service'")


def test_removing_keeps_the_configuration_and_purging_nothing(package):
    del package
    apt("remove", "tickerd")
    assert shutil.which("tickerd") is None
    assert CONFIG.exists() and DEFAULTS.exists() and (STATE / "state").exists()
    apt("purge", "tickerd")
    assert not _installed()
    left = [path for root in ("/etc", "/usr/bin", "/usr/lib/systemd", "/lib/systemd", "/var/lib",
                              "/usr/share/doc", "/usr/share/man", "/run")
            for path in Path(root).glob("**/tickerd*") if "/build/" not in str(path)]
    assert left == [], left
