"""The four proxies, real ones, each with the very files of conf/proxy: only addresses, ports, paths of
certificates and the account are replaced, and where the proxy keeps its own files."""

import contextlib
import grp
import os
import pwd
import re
import shutil
import signal
import tempfile
from pathlib import Path

from harness import ROOT, poll_until, scaled
from harness.proc import end, spawn
from harness.redis import free_port
from http2 import Http2

FILES = ROOT / "conf" / "proxy"
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
MODULES = Path("/usr/lib/apache2/modules")


def program(name):
    """Its path, or None where it is not installed."""
    return shutil.which(name, path=PATH)


class Front:
    """A proxy on a port of its own, which it keeps when it is restarted. `pair` has the paths of
    certificate and key; `plant` is a function that spoils the configuration's text."""

    binary = None
    files = ()            # the first is the configuration
    checks_health = True  # asks /healthz by itself
    unix = "unix:{}"      # how a unix socket is spelled, in place of `address`
    address = "127.0.0.1:8090"
    # What has a second instance, in the configuration commented out.
    second = r"# ((to|server|server two) 127\.0\.0\.1:8092.*)"

    def __init__(self, tickerd, authority, pair, plant=None, port=None):
        self.dir = tempfile.mkdtemp(prefix=f"tk-{self.binary}-")
        os.chmod(self.dir, 0o755)  # some give up root's rights
        self.port = port or free_port()
        self.tickerd, self.authority, self.pair, self.plant = tickerd, authority, pair, plant
        self.log_path = os.path.join(self.dir, "log")
        self.process = None
        self.client = Http2(self.port, authority)
        self.connect, self.stream = self.client.connect, self.client.stream
        self.get = self.client.get
        for name in self.files:
            self._adapt(name)
        self.start()

    def _adapt(self, name):
        text = (FILES / name).read_text(encoding="utf-8")
        if name == self.files[0]:
            for ours, theirs in self.replaced().items():
                assert ours in text, f"{name} has no {ours!r}"
                text = text.replace(ours, theirs)
            text = self.plant(text) if self.plant else text
        Path(self.dir, name).write_text(text, encoding="utf-8")

    def upstream(self):
        if isinstance(self.tickerd, str):
            return {self.address: self.unix.format(self.tickerd)}
        return {"127.0.0.1:8090": "%s:%d" % self.tickerd}

    def replaced(self):
        """What is replaced in the configuration."""
        return {**self.upstream(),
                "/etc/ssl/example.org/fullchain.pem": self.pair.cert,
                "/etc/ssl/example.org/privkey.pem": self.pair.key}

    def argv(self, config):
        """The program's arguments, for it to stay in the foreground."""
        raise NotImplementedError

    def start(self):
        with open(self.log_path, "ab") as log:
            argv = self.argv(os.path.join(self.dir, self.files[0]))
            self.process = spawn(["setsid", program(self.binary), *argv], stdout=log, stderr=log,
                                 env={**os.environ, "HOME": self.dir, "XDG_DATA_HOME": self.dir})
        poll_until(self._answers, scaled(10), lambda: f"{self.binary} answers\n{self.log()}")

    def _answers(self):
        assert self.process.poll() is None, f"{self.binary} ended:\n{self.log()}"
        try:
            return self.get("/healthz", timeout=2)
        except ConnectionError:
            return False

    def halt(self):
        """As its service is stopped."""
        end(self.process, scaled(10))

    def restart(self):
        self.halt()
        self.start()

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()[-6000:]

    def stop(self):
        """At once, with all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


class Nginx(Front):
    binary = "nginx"
    files = ("nginx.conf", "nginx-later.conf")
    checks_health = False

    def replaced(self):
        own = "".join(f"    {kind}_temp_path {self.dir}/{kind};\n" for kind in
                      ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        return {**super().replaced(), "http {\n": "http {\n    access_log off;\n" + own,
                "listen [::]:443 ssl http2;": "", "listen 443 ": f"listen 127.0.0.1:{self.port} "}

    def argv(self, config):
        return ["-e", self.log_path, "-p", self.dir, "-c", config,
                "-g", f"daemon off; master_process off; pid {self.dir}/pid;"]


class Haproxy(Front):
    binary = "haproxy"
    files = ("haproxy.cfg",)
    unix = "unix@{}"

    def replaced(self):
        both = Path(self.dir, "both.pem")
        both.write_text(Path(self.pair.cert).read_text() + Path(self.pair.key).read_text())
        user = pwd.getpwuid(os.getuid())
        return {**self.upstream(), "/etc/haproxy/example.org.pem": str(both),
                "bind :443,:::443 ": f"bind 127.0.0.1:{self.port} ",
                "user haproxy": f"user {user.pw_name}",
                "group haproxy": f"group {grp.getgrgid(user.pw_gid).gr_name}"}

    def argv(self, config):
        return ["-db", "-f", config]


class Caddy(Front):
    binary = "caddy"
    files = ("Caddyfile",)
    unix = "unix/{}"

    def replaced(self):
        site = f"https://localhost:{self.port}, https://127.0.0.1:{self.port} {{\n\tbind 127.0.0.1\n"
        return {**super().replaced(), "\nexample.org {\n": f"\n{site}",
                "admin 127.0.0.1:2019": f"admin unix/{self.dir}/admin"}

    def argv(self, config):
        return ["run", "--config", config, "--adapter", "caddyfile"]


class Apache(Front):
    binary = "apache2"
    files = ("apache.conf", "apache-later.asis")
    checks_health = False
    unix, address = "unix:{}|http://localhost", "http://127.0.0.1:8090"
    second = r"# ( *(?:</?Proxy|BalancerMember|ProxyPass) ?.*)"
    # What the a2enmod line in the file enables, with what Debian's packages enable anyway.
    modules = ("mpm_event", "authz_core", "alias", "env", "filter", "setenvif", "ssl", "http2",
               "proxy", "proxy_http", "headers", "asis", "include", "slotmem_shm",
               "proxy_balancer", "lbmethod_byrequests", "deflate")

    def replaced(self):
        return {**super().replaced(), "Listen 443\n": f"Listen 127.0.0.1:{self.port} https\n",
                "<VirtualHost *:443>": f"<VirtualHost *:{self.port}>",
                "/etc/apache2/apache-later.asis": f"{self.dir}/apache-later.asis"}

    def argv(self, config):
        main = Path(self.dir, "main.conf")
        load = "".join(f"LoadModule {m}_module {MODULES}/mod_{m}.so\n" for m in self.modules)
        main.write_text(f"ServerRoot {self.dir}\nServerName localhost\nPidFile {self.dir}/pid\n"
                        f"ErrorLog {self.log_path}\nMutex file:{self.dir} default\n{load}"
                        f"User www-data\nGroup www-data\nInclude {config}\n", encoding="ascii")
        return ["-D", "FOREGROUND", "-f", str(main)]


def with_second(kind, address):
    """A plant that lets a proxy of this kind know a second instance."""
    def uncomment(text):
        text, count = re.subn(kind.second, r"\1", text)
        assert count, "no second instance in the configuration"
        return text.replace("127.0.0.1:8092", "%s:%d" % address)
    return uncomment


FRONTS = {front.binary: front for front in (Nginx, Haproxy, Caddy, Apache)}
