"""A table of attacks by token: each row is a way in that stood open somewhere once, and must be shut
here. What a row forges opens `news`, if it is believed."""

import base64
import collections
import hmac
import json
import re
from urllib.parse import quote

import pytest
from harness import Daemon, Response, error_body
from harness.client import build
from harness.tokens import KeyPair, Secret, auth, b64url, bearer, now

ISSUER, AUDIENCE = "https://issuer.test", "tickerd"
TARGET = "/events/news"

Keys = collections.namedtuple("Keys", "hs rs es rs_kid")
Attack = collections.namedtuple("Attack", "name make status code")


def claims(**changes):
    """Claims that open `news`; None removes one."""
    good = {"sub": "42", "iss": ISSUER, "aud": AUDIENCE, "iat": now(), "nbf": now(),
            "exp": now() + 300, "channels": ["news"]}
    good.update(changes)
    return {name: value for name, value in good.items() if value is not None}


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return Keys(Secret(folder), KeyPair(folder, "RS256"), KeyPair(folder, "ES256"),
                KeyPair(folder, "RS256", kid="named", name="named"))


@pytest.fixture(scope="module")
def target(shared_server, keys):
    """One daemon withstands the whole table."""
    daemon = Daemon(shared_server.url,
                    sets=auth(*keys, issuer=ISSUER, audience=AUDIENCE, cookie="session"))
    yield daemon
    try:
        daemon.finish()
    finally:
        daemon.clean()


def hs(secret, digest="sha256"):
    """A signer with this secret."""
    return lambda text: hmac.new(secret, text, digest).digest()


def raw_hs(k, header, payload):
    """Signed with the true secret, whatever header and payload are."""
    return k.hs.seal(header.encode() if isinstance(header, str) else header,
                     payload.encode() if isinstance(payload, str) else payload)


def with_claims(**changes):
    return lambda k: k.hs.token(claims(**changes))


def with_header(**members):
    return lambda k: k.hs.token(claims(), header=members)


def with_payload(text):
    return lambda k: raw_hs(k, '{"alg":"HS256"}', text)


def json_without(text, **changes):
    """The claims as JSON text with this text put in at their front."""
    return "{" + text + "," + json.dumps(claims(**changes))[1:]


def unsigned(alg):
    return lambda k: k.hs.token(claims(), header={"alg": alg}, sign=lambda _: b"")


def signed_with_public_key(pick, alg="HS256", cut=lambda b: b):
    """RS256 → HS256: the public key's text as the secret (CVE-2015-9235)."""
    def make(k):
        key = pick(k)
        secret = cut(key.file.read_bytes())
        header = {"alg": alg, "kid": key.kid}
        return key.token(claims(), header=header, sign=hs(secret, f"sha{alg[2:]}"))
    return make


def der(pem):
    return base64.b64decode(b"".join(pem.splitlines()[1:-1]))


def own_key_inside(member):
    """The attacker signs with a key of his own and says where it is."""
    def make(k):
        jwk = {"kty": "oct", "k": b64url(b"x" * 32), "alg": "HS256"}
        value = {"jwk": jwk, "jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/cert",
                 "x5c": [base64.b64encode(b"x" * 32).decode()]}[member]
        return k.hs.token(claims(), header={member: value}, sign=hs(b"x" * 32))
    return make


def edit(change):
    """A good token whose parts (header, payload, signature) are changed."""
    return lambda k: ".".join(change(*k.hs.token(claims()).split(".")))


def flipped(text):
    """Another last character, of which a sloppy decoder ignores the low bits."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1]


def ecdsa(change):
    """An ES256 token whose 64 bytes of signature are changed."""
    return lambda k: k.es.token(claims(), sign=lambda text: change(k.es.sign(text)))


ORDER = int("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)


def as_der(signature):
    def number(part):
        part = part.lstrip(b"\0") or b"\0"
        part = b"\0" + part if part[0] & 0x80 else part
        return bytes([2, len(part)]) + part
    body = number(signature[:32]) + number(signature[32:])
    return bytes([0x30, len(body)]) + body


ATTACKS = [Attack(*row) for row in (
    # no signature
    *((f"alg {alg}", unsigned(alg), 401, "token_invalid")
      for alg in ("none", "None", "NONE", "nOnE", "none ", "", " ")),
    ("alg none, signed", lambda k: k.hs.token(claims(), header={"alg": "none"}), 401,
     "token_invalid"),
    ("no alg", with_header(alg=None), 401, "token_invalid"),
    ("alg is null", lambda k: raw_hs(k, '{"alg":null}', json.dumps(claims())), 401,
     "token_invalid"),
    ("alg is a list", with_header(alg=["HS256"]), 401, "token_invalid"),
    ("alg is a number", with_header(alg=256), 401, "token_invalid"),
    ("alg in small letters", with_header(alg="hs256"), 401, "token_invalid"),
    ("alg with a NUL", with_header(alg="HS256\0"), 401, "token_invalid"),
    ("alg with a blank", with_header(alg="HS256 "), 401, "token_invalid"),
    ("alg unknown", with_header(alg="HS1"), 401, "token_invalid"),
    ("alg unsupported", with_header(alg="ES512"), 401, "token_invalid"),
    ("signature left out", edit(lambda h, p, s: (h, p, "")), 401, "token_invalid"),
    ("signature and its dot left out", edit(lambda h, p, s: (h, p)), 401, "token_invalid"),
    ("signature of zeros", edit(lambda h, p, s: (h, p, b64url(bytes(32)))), 401,
     "token_invalid"),
    ("signature cut", edit(lambda h, p, s: (h, p, s[:-4])), 401, "token_invalid"),
    ("signature grown", edit(lambda h, p, s: (h, p, s + "AAAA")), 401, "token_invalid"),
    ("signature of other claims", lambda k: ".".join(
        [*k.hs.token(claims()).split(".")[:2], k.hs.token(claims(sub="1")).split(".")[2]]), 401,
     "token_invalid"),
    ("payload exchanged", edit(lambda h, p, s: (
        h, b64url(json.dumps(claims(sub="1")).encode()), s)), 401, "token_invalid"),
    ("header exchanged", edit(lambda h, p, s: (b64url(b'{"alg":"HS256","typ":"jwt"}'), p, s)),
     401, "token_invalid"),
    # another algorithm than the key's
    ("RS to HS by the PEM", signed_with_public_key(lambda k: k.rs), 401, "token_invalid"),
    ("RS to HS by the PEM of a named key", signed_with_public_key(lambda k: k.rs_kid), 401,
     "token_invalid"),
    ("RS to HS by the PEM without its last line end",
     signed_with_public_key(lambda k: k.rs, cut=lambda b: b.rstrip(b"\n")), 401,
     "token_invalid"),
    ("RS to HS by the DER", signed_with_public_key(lambda k: k.rs, cut=der), 401,
     "token_invalid"),
    ("RS to HS512", signed_with_public_key(lambda k: k.rs, "HS512"), 401, "token_invalid"),
    ("ES to HS by the PEM", signed_with_public_key(lambda k: k.es), 401, "token_invalid"),
    ("HS384 with the secret of HS256", lambda k: k.hs.token(
        claims(), header={"alg": "HS384"}, sign=hs(k.hs.secret, "sha384")), 401,
     "token_invalid"),
    ("RS512 with the key of RS256", lambda k: k.rs.token(claims(), header={"alg": "RS512"}), 401,
     "token_invalid"),
    ("PS256 with the key of RS256", lambda k: k.rs.token(claims(), header={"alg": "PS256"}), 401,
     "token_invalid"),
    ("alg RS256, signed by HMAC", lambda k: k.hs.token(claims(), header={"alg": "RS256"}), 401,
     "token_invalid"),
    ("alg ES256, signed by RSA", lambda k: k.rs.token(claims(), header={"alg": "ES256"}), 401,
     "token_invalid"),
    # ECDSA's own traps
    ("ES256 of zeros (CVE-2022-21449)", ecdsa(lambda s: bytes(64)), 401, "token_invalid"),
    ("ES256 of the group's order", ecdsa(lambda s: ORDER.to_bytes(32, "big") * 2), 401,
     "token_invalid"),
    ("ES256 as DER", ecdsa(as_der), 401, "token_invalid"),
    ("ES256 cut", ecdsa(lambda s: s[:63]), 401, "token_invalid"),
    ("ES256 half", ecdsa(lambda s: s[:32]), 401, "token_invalid"),
    ("ES256 with a byte more", ecdsa(lambda s: s + b"\0"), 401, "token_invalid"),
    ("ES256 with zeros before both", ecdsa(lambda s: b"\0" + s[:32] + b"\0" + s[32:]), 401,
     "token_invalid"),
    ("ES256 empty", ecdsa(lambda s: b""), 401, "token_invalid"),
    # header members that change how it is read
    ("crit of a known name", with_header(crit=["exp"]), 401, "token_invalid"),
    ("crit of an unknown name", with_header(crit=["x"], x=1), 401, "token_invalid"),
    ("crit empty", with_header(crit=[]), 401, "token_invalid"),
    ("crit no list", with_header(crit="exp"), 401, "token_invalid"),
    ("b64 false", with_header(b64=False, crit=["b64"]), 401, "token_invalid"),
    ("b64 false without crit", with_header(b64=False), 401, "token_invalid"),
    ("zip", with_header(zip="DEF"), 401, "token_invalid"),
    *((f"the attacker's own key by {member}", own_key_inside(member), 401, "token_invalid")
      for member in ("jwk", "jku", "x5u", "x5c")),
    # other keys
    ("another secret", lambda k: k.hs.token(claims(), sign=hs(b"y" * 64)), 401, "token_invalid"),
    ("an empty secret", lambda k: k.hs.token(claims(), sign=hs(b"")), 401, "token_invalid"),
    ("the secret with a line end", lambda k: k.hs.token(claims(), sign=hs(k.hs.secret + b"\n")),
     401, "token_invalid"),
    *((f"the secret {secret!r}", lambda k, s=secret: k.hs.token(claims(), sign=hs(s)), 401,
       "token_invalid") for secret in (b"secret", b"password", b"your-256-bit-secret", b"tickerd")),
    # kid as a way into files, queries and strings
    *((f"kid {kid[:24]!r}", lambda k, kid=kid: k.hs.token(
        claims(), header={"kid": kid}, sign=hs(b"")), 401, "token_invalid")
      for kid in ("../../../../../../dev/null", "/dev/null", "' UNION SELECT '", "x' OR '1'='1",
                  "named\0", "named ", "NAMED", "", "\0", "$(id)", "%s%s%n", "\ud83d", "k" * 3000)),
    *((f"kid {json.dumps(kid)}", with_header(kid=kid), 401, "token_invalid")
      for kid in (1, True, ["named"], {"kid": "named"})),
    # names that come twice: two readers see two tokens
    ("channels twice", with_payload(json_without('"channels":["other"]')), 401, "token_invalid"),
    ("exp twice", with_payload(json_without(f'"exp":{now() + 10}')), 401, "token_invalid"),
    ("sub twice, once escaped", with_payload(json_without(r'"s\u0075b":"1"')), 401,
     "token_invalid"),
    ("an unknown claim twice", with_payload(json_without('"x":1,"x":2')), 401, "token_invalid"),
    ("a name twice inside a claim", with_payload(json_without('"x":{"a":1,"a":2}')), 401,
     "token_invalid"),
    ("alg twice", lambda k: raw_hs(k, '{"alg":"none","alg":"HS256"}', json.dumps(claims())), 401,
     "token_invalid"),
    ("kid twice", lambda k: raw_hs(k, '{"alg":"HS256","kid":"a","kid":"b"}',
                                   json.dumps(claims())), 401, "token_invalid"),
    # what is no JWS in compact form
    ("no token at all", lambda k: "x", 401, "token_invalid"),
    ("dots only", lambda k: "..", 401, "token_invalid"),
    ("many dots", lambda k: "." * 500, 401, "token_invalid"),
    ("empty header", edit(lambda h, p, s: ("", p, s)), 401, "token_invalid"),
    ("empty payload", lambda k: k.hs.token(b""), 401, "token_invalid"),
    ("a fourth part", edit(lambda h, p, s: (h, p, s, s)), 401, "token_invalid"),
    ("a dot behind", edit(lambda h, p, s: (h, p, s, "")), 401, "token_invalid"),
    ("a JWE", lambda k: ".".join([b64url(b'{"alg":"dir","enc":"A128GCM"}'), "", b64url(b"i" * 12),
                                  b64url(json.dumps(claims()).encode()), b64url(b"t" * 16)]), 401,
     "token_invalid"),
    ("a token in a token", lambda k: k.hs.token(k.hs.token(claims()).encode(),
                                                header={"cty": "JWT"}), 401, "token_invalid"),
    ("a token as a JSON string", lambda k: k.hs.token(
        json.dumps(k.hs.token(claims())).encode()), 401, "token_invalid"),
    ("base64 with padding", edit(lambda h, p, s: (h, p, s + "=")), 401, "token_invalid"),
    ("base64 of the other alphabet", lambda k: k.hs.token(claims(), sign=lambda t: b"").rstrip(
        ".") + "." + base64.b64encode(b"\xfb\xff" * 16).decode().rstrip("="), 401,
     "token_invalid"),
    ("low bits of the signature", edit(lambda h, p, s: (h, p, flipped(s))), 401,
     "token_invalid"),
    ("header is a list", lambda k: raw_hs(k, '["HS256"]', json.dumps(claims())), 401,
     "token_invalid"),
    ("header is no JSON", lambda k: raw_hs(k, "alg=HS256", json.dumps(claims())), 401,
     "token_invalid"),
    ("header goes on behind its end", lambda k: raw_hs(k, '{"alg":"HS256"}x',
                                                       json.dumps(claims())), 401,
     "token_invalid"),
    *((f"payload {text[:20]!r}", with_payload(text), 401, "token_invalid")
      for text in ("", "null", "[]", '"x"', "1", "{", "{}{}", "{'channels':['news']}",
                   "\ufeff{}", '{"channels":["news"],}', "[" * 4000, '{"a":' * 1500)),
    ("payload with a NUL behind", with_payload(json.dumps(claims()) + "\0"), 401,
     "token_invalid"),
    ("payload with bytes that are no UTF-8",
     lambda k: raw_hs(k, '{"alg":"HS256"}', b'{"channels":["news"],"x":"\xc3\x28"}'), 401,
     "token_invalid"),
    # claims
    ("expired", with_claims(exp=now() - 3600), 401, "token_expired"),
    ("expired since 1970", with_claims(exp=0), 401, "token_expired"),
    ("exp below 0", with_claims(exp=-1), 401, None),
    ("exp is text", with_claims(exp=str(now() + 300)), 401, "token_invalid"),
    ("exp is true", with_claims(exp=True), 401, "token_invalid"),
    ("exp is null", lambda k: raw_hs(k, '{"alg":"HS256"}', json.dumps(
        {**claims(), "exp": None})), 401, "token_invalid"),
    ("exp is a list", with_claims(exp=[now() + 300]), 401, "token_invalid"),
    ("exp beyond all numbers", with_payload(json_without('"exp":1e400', exp=None)), 401,
     "token_invalid"),
    ("exp of a hundred digits", with_payload(json_without('"exp":' + "9" * 100, exp=None)), 401,
     "token_invalid"),
    ("not yet", with_claims(nbf=now() + 3600), 401, "token_invalid"),
    ("nbf is text", with_claims(nbf="0"), 401, "token_invalid"),
    ("made in the future", with_claims(iat=now() + 3600), 401, "token_invalid"),
    ("another issuer", with_claims(iss="https://issuer.test.evil.example"), 401,
     "token_invalid"),
    ("issuer with a slash", with_claims(iss=ISSUER + "/"), 401, "token_invalid"),
    ("issuer with a NUL", with_claims(iss=ISSUER + "\0x"), 401, "token_invalid"),
    ("no issuer", with_claims(iss=None), 401, "token_invalid"),
    ("issuers in a list", with_claims(iss=[ISSUER]), 401, "token_invalid"),
    ("another audience", with_claims(aud="someone.else"), 401, "token_invalid"),
    ("other audiences", with_claims(aud=["a", "b", AUDIENCE + "x"]), 401, "token_invalid"),
    ("no audience", with_claims(aud=None), 401, "token_invalid"),
    ("an empty list of audiences", with_claims(aud=[]), 401, "token_invalid"),
    ("an audience that is an object", with_claims(aud={AUDIENCE: True}), 401, "token_invalid"),
    ("sub is a number", with_claims(sub=42), 401, "token_invalid"),
    ("sub with a line end", with_claims(sub="42\nforged"), 401, "token_invalid"),
    ("sub with a NUL", with_claims(sub="42\0"), 401, "token_invalid"),
    ("sub of 3,000 bytes", with_claims(sub="x" * 3000), 401, "token_invalid"),
    ("channels holds nothing", with_claims(channels=[""]), 401, "token_invalid"),
    ("channels is true", with_claims(channels=True), 401, "token_invalid"),
    ("channels is an object", with_claims(channels={"news": True}), 401, "token_invalid"),
    ("channels holds a number", with_claims(channels=["news", 1]), 401, "token_invalid"),
    ("channels holds a list", with_claims(channels=[["news"]]), 401, "token_invalid"),
    # a good key, but not for this channel
    *((f"channels {channels!r}", with_claims(channels=channels), 403, "forbidden")
      for channels in ([], ["other"], ["New?"], ["news.*"], ["[n"], ["new[^s]"], ["?"], [" news"],
                       ["NEWS"], ["\\\\news"], ["news\\"], ["sse:news"], ["n\u0435ws"])),
    ("no channels", with_claims(channels=None), 403, "forbidden"),
    ("channels under another name", with_claims(channels=None, channel=["news"]), 403,
     "forbidden"),
)]


def refusal(target, path, headers=()):
    """The answer to a request that must not get a stream; one that does shows at once."""
    with target.connect(path, headers=headers) as stream:
        head = stream.wait_head()
        assert head.status != 200, f"{path} was let in:\n{stream.describe()}"
        stream.wait_end()
        return Response(stream.received)


def says(answer, status, code):
    body = error_body(answer, status)
    assert code is None or body["error"] == code, body
    assert answer.header("cache-control") == "no-store"
    assert (answer.header("www-authenticate") or "").startswith('Bearer realm="tickerd"'), answer


def test_the_good_twin(target, keys):
    """What the rows forge would be believed if it were not forged."""
    for key in keys:
        token = key.token(claims())
        for options in ({"headers": bearer(token)}, {"headers": {"Cookie": f"session={token}"}}):
            with target.stream(TARGET, **options):
                pass


@pytest.mark.parametrize("attack", ATTACKS, ids=[a.name for a in ATTACKS])
def test_attack(target, keys, attack):
    token = attack.make(keys)
    # Every way in leads through the same door. Not every token can come by every way.
    ways = [(f"{TARGET}?token={quote(token.encode(errors='surrogatepass'))}", {})]
    if re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", token):
        ways += [(TARGET, bearer(token)), (TARGET, {"Cookie": f"session={token}"})]
    for path, headers in ways:
        answer = refusal(target, path, headers)
        says(answer, attack.status, attack.code)
        assert token not in answer.raw.decode() or len(token) < 8


# ---- size ------------------------------------------------------------------------------------------

def sized(keys, size):
    """A good token of at least this many bytes, three more at most."""
    pad = (size - len(keys.hs.token(claims(pad="")))) * 3 // 4
    while len(token := keys.hs.token(claims(pad="x" * pad))) < size:
        pad += 1
    return token


def test_the_longest_token(target, keys):
    token = sized(keys, 8189)
    assert 8189 <= len(token) <= 8192
    assert target.get(TARGET, method="HEAD", headers=bearer(token)).status == 200


@pytest.mark.parametrize("place,status", [("header", 401), ("cookie", 401), ("query", 401)])
def test_a_token_that_is_too_long(target, keys, place, status):
    token = sized(keys, 8193)
    query = f"?token={token}" if place == "query" else ""
    headers = {"header": bearer(token), "cookie": {"Cookie": f"session={token}"}}.get(place, {})
    says(refusal(target, TARGET + query, headers), status, "token_invalid")


@pytest.mark.parametrize("place,status", [("header", 431), ("cookie", 431), ("query", 414)])
def test_a_token_beyond_the_request(target, keys, place, status):
    token = sized(keys, 17000)
    query = f"?token={token}" if place == "query" else ""
    headers = {"header": bearer(token), "cookie": {"Cookie": f"session={token}"}}.get(place, {})
    error_body(target.get(TARGET + query, headers=headers), status)


# ---- injection -------------------------------------------------------------------------------------

@pytest.mark.parametrize("junk", [b"\0", b"\r", b"\n", b"\x01", b"\x7f"], ids=repr)
@pytest.mark.parametrize("header", ["Authorization: Bearer ", "Cookie: session="])
def test_control_bytes_in_a_header(target, keys, header, junk):
    token = keys.hs.token(claims()).encode()
    head = build(TARGET)[:-2] + header.encode() + token[:20] + junk + token[20:] + b"\r\n\r\n"
    error_body(target.send(head), 400)


@pytest.mark.parametrize("junk", ["%00", "%0d%0aX-Injected:%20yes", "%0a", "%20", "%22", "%FF",
                                  "%C3%A9", "%2E", "%3D", "+"])
@pytest.mark.parametrize("at", [0, 20, None])
def test_bytes_in_a_token_in_the_query(target, keys, at, junk):
    token = keys.hs.token(claims())
    text = token + junk if at is None else token[:at] + junk + token[at:]
    answer = refusal(target, f"{TARGET}?token={text}")
    says(answer, 401, "token_invalid")
    assert b"Injected" not in answer.raw


@pytest.mark.parametrize("name", ["%22%2C%20error%3D%22", "%5C", "%5C%22", "%3Cscript%3E", "%7F%C2%80",
                                  "caf%C3%A9", "%E2%80%A8"])
def test_a_channel_name_in_a_refusal(target, keys, name):
    """It is quoted as JSON wants it, and never gets into a header."""
    for headers, status in (({}, 401), (bearer(keys.hs.token(claims())), 403)):
        answer = target.get(f"/events/{name}", headers=headers)
        if answer.status == 400:  # not a name at all
            assert json.loads(answer.body)["error"] == "bad_channel"
            continue
        says(answer, status, None)
        assert answer.header("www-authenticate") in (
            'Bearer realm="tickerd"', 'Bearer realm="tickerd", error="insufficient_scope"')
        assert answer.header("x-content-type-options") == "nosniff"


def test_the_log_of_all_this_has_no_forged_line(target):
    log = target.log()
    assert "forged" not in log and "Injected" not in log
    assert "eyJ" not in log  # every token begins so
