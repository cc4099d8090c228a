"""HUP reads the keys of tokens again, whatever else has changed."""

import base64
import json
import re


def secret(folder, name, text="s" * 32):
    path = folder / name
    path.write_text(text, encoding="ascii")
    path.chmod(0o600)
    return {"alg": "HS256", "file": str(path), "kid": name}


def auth(*keys, **more):
    return {"auth": {"mode": "required", "keys": list(keys), **more}}


def jwks(path, **secrets):
    keys = [{"kty": "oct", "kid": kid, "alg": "HS256",
             "k": base64.urlsafe_b64encode(text.encode() * 32).decode().rstrip("=")}
            for kid, text in secrets.items()]
    path.write_text(json.dumps({"keys": keys}), encoding="ascii")
    path.chmod(0o600)


def summary(log):
    return re.search(r"info +(reloaded: .*)\n", log)[1]


def test_keys_are_counted(launch, tmp_path):
    a, b, c = (secret(tmp_path, n, n * 32) for n in "abc")
    tickerd = launch(config=auth(a, b))
    assert summary(tickerd.reload()) == "reloaded: nothing changed; keys: 2"
    assert summary(tickerd.reload(auth(b, c))) == (
        "reloaded: 1 key changed: auth.keys; keys: 2, 1 added, 1 removed")
    secret(tmp_path, "c", "x" * 32)  # another secret under the same name
    assert summary(tickerd.reload()) == (
        "reloaded: no setting changed; keys: 2, 1 added, 1 removed")
    assert summary(tickerd.reload({})) == (
        "reloaded: 2 keys changed: auth.mode, auth.keys; keys: 0, 2 removed")
    assert summary(tickerd.reload()) == "reloaded: nothing changed"


def test_a_jwks_file_is_read_again(launch, tmp_path):
    path = tmp_path / "jwks.json"
    jwks(path, old="A")
    tickerd = launch(config=auth(jwks_file=str(path)))
    jwks(path, old="A", new="B")
    assert summary(tickerd.reload()) == "reloaded: no setting changed; keys: 2, 1 added"
    jwks(path, new="B")
    assert summary(tickerd.reload()) == "reloaded: no setting changed; keys: 1, 1 removed"


def test_bad_keys_change_nothing(launch, tmp_path):
    a = secret(tmp_path, "a")
    path = tmp_path / "jwks.json"
    tickerd = launch(config=auth(a))
    bad = [auth(), auth({"alg": "none", "file": a["file"]}), auth(secret(tmp_path, "b", "short")),
           auth({"alg": "HS256", "file": str(tmp_path / "missing")}),
           auth({"alg": "RS256", "file": a["file"]}), auth(a, a), auth(jwks_file=str(path))]
    for config in bad:
        log = tickerd.reload(config)
        assert re.search(r"error .*auth.*\n.*not reloaded: 1 problem;", log), log
    for text in ("", "{", '{"keys":[]}', '{"keys":[{"kty":"oct","k":"AAAA","alg":"HS256"}]}'):
        path.write_text(text, encoding="ascii")
        assert "not reloaded: 1 problem;" in tickerd.reload(auth(jwks_file=str(path)))
    assert summary(tickerd.reload(auth(a))) == "reloaded: nothing changed; keys: 1"
