"""Certificates for tests, made with the openssl command: a CA, and what it signs."""

import subprocess
import time
from pathlib import Path

# `openssl ca` rather than `openssl x509`: it takes dates, so that a certificate can be expired.
_CONFIG = """
[ca]
default_ca = it
[it]
database = {dir}/index
new_certs_dir = {dir}
certificate = {dir}/cert.pem
private_key = {dir}/key.pem
default_md = sha256
rand_serial = yes
policy = any
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = name
[name]
[root]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""


def _openssl(*args):
    done = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, f"openssl {args}:\n{done.stderr}"


def _date(days):
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + days * 86400))


class Pair:
    """The paths of a certificate and of its key, as text."""

    def __init__(self, cert, key):
        self.cert, self.key = str(cert), str(key)


def tls_options(port, pair, authority):
    """Of a redis-server or a Sentinel that speaks TLS at this port, as (name, value)."""
    return [("tls-port", port), ("tls-cert-file", pair.cert), ("tls-key-file", pair.key),
            ("tls-ca-cert-file", authority.cert), ("tls-auth-clients", "no")]


class Authority:
    """A CA in a folder of its own. `cert` is the path of its certificate."""

    def __init__(self, folder, name="test CA"):
        self.dir = Path(folder)
        self.dir.mkdir(parents=True)
        (self.dir / "index").touch()
        self.config = self.dir / "config"
        self.config.write_text(_CONFIG.format(dir=self.dir), encoding="ascii")
        self.cert = str(self.dir / "cert.pem")
        self._request("key.pem", "cert.pem", name, "-x509", "-days", 30, "-extensions", "root")

    def _request(self, key, out, name, *args):
        _openssl("req", "-config", self.config, "-newkey", "ec", "-pkeyopt",
                 "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
                 "-keyout", self.dir / key, "-out", self.dir / out, *args)

    def issue(self, name, *alt, first_day=-1, last_day=30):
        """A certificate for the alternative names ("DNS:localhost", "IP:127.0.0.1"), valid on the
        days between those two, counted from now."""
        extensions = self.dir / f"{name}.ext"
        extensions.write_text(f"[ext]\nsubjectAltName={','.join(alt)}\n" if alt else "[ext]\n",
                              encoding="ascii")
        self._request(f"{name}.key", f"{name}.csr", name)
        _openssl("ca", "-batch", "-config", self.config, "-in", self.dir / f"{name}.csr", "-notext",
                 "-out", self.dir / f"{name}.pem", "-extfile", extensions, "-extensions", "ext",
                 "-startdate", _date(first_day), "-enddate", _date(last_day))
        return Pair(self.dir / f"{name}.pem", self.dir / f"{name}.key")

    def self_signed(self, name, *alt):
        """A certificate that nobody has signed but itself."""
        self._request(f"{name}.key", f"{name}.pem", name, "-x509", "-days", 30, "-addext",
                      "subjectAltName=" + ",".join(alt))
        return Pair(self.dir / f"{name}.pem", self.dir / f"{name}.key")
