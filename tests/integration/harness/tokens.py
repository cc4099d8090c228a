"""JSON Web Tokens for tests: keys, good tokens and, since everything is put together by hand, bad
ones. Signatures come from Python's hmac and from the openssl command, which share no code with what
verifies them."""

import base64
import hmac
import json
import secrets
import subprocess
import time
from pathlib import Path


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def now():
    return int(time.time())


def _openssl(*args, stdin=None):
    done = subprocess.run(["openssl", *map(str, args)], capture_output=True, input=stdin,
                          check=False)
    assert done.returncode == 0, f"openssl {args}:\n{done.stderr.decode()}"
    return done.stdout


def _fixed_ecdsa(der, size):
    """The two numbers of a DER signature, each with this many bytes (RFC 7518 §3.4)."""
    def number(at):
        assert der[at] == 2
        length = der[at + 1]
        return int.from_bytes(der[at + 2:at + 2 + length], "big"), at + 2 + length

    r, at = number(3 if der[1] == 0x81 else 2)
    s, _ = number(at)
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


class Key:
    """Signs by one algorithm. `file` is what the daemon verifies with: a secret or a public key;
    `entry` is what auth.keys says of it."""

    def __init__(self, alg, kid, file):
        self.alg = alg
        self.kid = kid
        self.file = Path(file)

    @property
    def entry(self):
        return {"alg": self.alg, "file": str(self.file), **({"kid": self.kid} if self.kid else {})}

    def token(self, claims, *, header=None, sign=None):
        """A compact JWS. `header` adds to, replaces or (by None) removes its members; `claims` may
        be bytes, which are then the payload; `sign` makes the signature of the signing input."""
        members = {"alg": self.alg, "typ": "JWT", **({"kid": self.kid} if self.kid else {})}
        members.update(header or {})
        members = {name: value for name, value in members.items() if value is not None}
        return self.seal(json.dumps(members).encode(), claims, sign)

    def seal(self, header, claims, sign=None):
        """The same with the header's bytes as they are."""
        payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        text = f"{b64url(header)}.{b64url(payload)}"
        return f"{text}.{b64url((sign or self.sign)(text.encode()))}"

    def opens(self, *channels, ttl=300, **claims):
        """A token as an application makes it."""
        return self.token({"sub": "42", "exp": now() + ttl, "channels": list(channels), **claims})


class Secret(Key):
    """HS256, HS384 or HS512."""

    def __init__(self, folder, alg="HS256", kid=None, secret=None, name="secret"):
        super().__init__(alg, kid, Path(folder) / name)
        self.secret = secret if secret is not None else secrets.token_hex(32).encode()
        self.file.write_bytes(self.secret)
        self.file.chmod(0o600)

    def sign(self, text):
        return hmac.new(self.secret, text, f"sha{self.alg[2:]}").digest()


class KeyPair(Key):
    """RS*, PS* or ES*; the private key lies in a file beside the public one."""

    CURVES = {"ES256": ("prime256v1", 32), "ES384": ("secp384r1", 48)}

    def __init__(self, folder, alg, kid=None, bits=2048, name=None):
        super().__init__(alg, kid, Path(folder) / f"{name or alg.lower()}.pem")
        self.private = self.file.with_suffix(".key")
        kind = (("EC", "-pkeyopt", f"ec_paramgen_curve:{self.CURVES[alg][0]}")
                if alg in self.CURVES else ("RSA", "-pkeyopt", f"rsa_keygen_bits:{bits}"))
        _openssl("genpkey", "-algorithm", *kind, "-out", self.private)
        _openssl("pkey", "-in", self.private, "-pubout", "-out", self.file)

    def sign(self, text):
        options = []
        if self.alg.startswith("PS"):
            options = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]
        signature = _openssl("dgst", f"-sha{self.alg[2:]}", "-sign", self.private, *options,
                             stdin=text)
        if self.alg in self.CURVES:
            return _fixed_ecdsa(signature, self.CURVES[self.alg][1])
        return signature


def auth(*keys, mode="required", **sets):
    """Settings of a daemon that takes tokens of these keys."""
    return {"auth.mode": mode, "auth.keys": [k.entry for k in keys],
            **{f"auth.{name}": value for name, value in sets.items()}}


def bearer(token):
    return {"Authorization": f"Bearer {token}"}
