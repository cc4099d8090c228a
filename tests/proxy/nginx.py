"""A real nginx with the very files of conf/proxy, the two addresses in them replaced."""

import os
import shutil
import tempfile

from harness import ROOT, poll_until, request, scaled
from harness.client import build
from harness.proc import end, spawn
from harness.redis import free_port

PROGRAM = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
FILES = ROOT / "conf" / "proxy"

_CONFIG = """
daemon off;
master_process off;
worker_processes 1;
pid {dir}/pid;
error_log {dir}/log info;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {{
        listen {host}:{port};
        location = /alive {{ return 200; }}
{includes}
    }}
}}
"""


def spelled(address):
    """How a configuration of nginx names the address of a daemon."""
    return f"unix:{address}:" if isinstance(address, str) else "%s:%d" % address


class Nginx:
    def __init__(self, files, tickerd, application):
        """`files`: which of conf/proxy; the addresses as harness has them."""
        self.dir = tempfile.mkdtemp(prefix="tk-nginx-")
        self.log_path = os.path.join(self.dir, "log")
        replaced = {"127.0.0.1:8090": spelled(tickerd), "127.0.0.1:8000": spelled(application)}
        paths = [self._adapt(name, replaced) for name in [*files, "nginx-later.conf"]]
        self.includes = "\n".join(f"        include {p};" for p in paths)
        self.address = self.process = None
        for _ in range(5):  # the port may be taken by somebody else meanwhile
            self._start(("127.0.0.1", free_port()))
            poll_until(lambda: self._answers() or self.process.poll() is not None, scaled(5),
                       lambda: "nginx answers\n" + self.log())
            if self.process.poll() is None:
                return
        raise AssertionError("nginx does not start:\n" + self.log())

    def _adapt(self, name, replaced):
        text = (FILES / name).read_text(encoding="utf-8")
        for ours, theirs in replaced.items():
            text = text.replace(f"http://{ours}", f"http://{theirs}")
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def _start(self, address):
        config = os.path.join(self.dir, "nginx.conf")
        with open(config, "w", encoding="ascii") as file:
            file.write(_CONFIG.format(dir=self.dir, host=address[0], port=address[1],
                                      includes=self.includes))
        with open(self.log_path, "ab") as log:
            self.process = spawn([PROGRAM, "-e", self.log_path, "-c", config, "-p", self.dir],
                                 stdout=log, stderr=log)
        self.address = address

    def _answers(self):
        try:
            return self.get("/alive").status == 200
        except ConnectionError:
            return False

    def get(self, target, *, headers=(), timeout=10):
        """An answer that ends; no keep-alive."""
        pairs = [*headers, ("Connection", "close")]
        return request(self.address, build(target, headers=pairs), timeout=timeout)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()[-6000:]

    def stop(self):
        end(self.process)
        shutil.rmtree(self.dir, ignore_errors=True)
