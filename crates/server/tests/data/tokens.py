"""Access tokens, valid and tampered, made by PyJWT and cryptography: `python tokens.py > tokens.json`.

Prints the keys that the issuer shows, and each token with what must come of it: the agent that it names, or a code.
The private keys are made for this and forgotten.
"""

import base64
import hashlib
import hmac
import json

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

NOW = 1_700_000_000
ISSUER, AUDIENCE, SUBJECT = "https://idp.example", "https://gate.example/", "agent-1"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, size):
    return b64(value.to_bytes(size, "big"))


ES, ES_OTHER, ED = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
RS, PS = (rsa.generate_private_key(65537, 2048) for _ in range(2))
WEAK, SMALL_E = rsa.generate_private_key(65537, 1024), rsa.generate_private_key(3, 2048)
P384 = ec.generate_private_key(ec.SECP384R1())


def jwk(kid, key, **more):
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        n, e = public.public_numbers().n, public.public_numbers().e
        fields = {"kty": "RSA", "n": number(n, (n.bit_length() + 7) // 8), "e": number(e, (e.bit_length() + 7) // 8)}
    elif isinstance(public, ec.EllipticCurvePublicKey):
        size = (public.curve.key_size + 7) // 8
        crv = {"secp256r1": "P-256", "secp384r1": "P-384"}[public.curve.name]
        point = public.public_numbers()
        fields = {"kty": "EC", "crv": crv, "x": number(point.x, size), "y": number(point.y, size)}
    else:
        raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        fields = {"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}
    return {"kid": kid, **fields, **more}


def unnamed(key):
    fields = jwk("", key)
    del fields["kid"]
    return fields


KEYS = [
    jwk("es", ES, use="sig", alg="ES256"),
    jwk("es-other", ES_OTHER, use="sig", key_ops=["verify"]),
    jwk("ed", ED, alg="EdDSA"),
    jwk("rs", RS, use="sig", alg="RS256"),
    jwk("ps", PS),
    # None of these is taken.
    jwk("weak", WEAK, use="sig"),
    jwk("small-e", SMALL_E, use="sig"),
    jwk("p384", P384, use="sig"),
    jwk("enc", ES, use="enc"),
    jwk("wrap", ES, key_ops=["wrapKey"]),
    jwk("rs512", RS, alg="RS512"),
    jwk("twice", ES),
    jwk("twice", ES_OTHER),
    jwk("told", ES, d=b64(b"d" * 32)),
    {"kid": "mac", "kty": "oct", "k": b64(b"secret of thirty-two bytes long!"), "alg": "HS256"},
    {"kid": "short", "kty": "EC", "crv": "P-256", "x": b64(b"x" * 31), "y": b64(b"y" * 32)},
    {"kid": 7, "kty": "OKP", "crv": "Ed25519", "x": b64(b"x" * 32)},
    unnamed(ES),
    "es",
]


def claims(**change):
    base = {"iss": ISSUER, "sub": SUBJECT, "aud": AUDIENCE, "exp": NOW + 300, "iat": NOW - 5, "jti": "j", "client_id": "c"}
    return {name: value for name, value in {**base, **change}.items() if value is not None}


def signed(payload=None, key=ES, alg="ES256", kid="es", typ="at+jwt", **header):
    """By PyJWT."""
    headers = {"typ": typ, "kid": kid, **header}
    return jwt.encode(payload or claims(), key, algorithm=alg, headers={k: v for k, v in headers.items() if v is not None})


def sign(text, key=ES):
    data = text.encode()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    return key.sign(data)


def raw(header, payload, key=ES):
    """Header and claims as texts, signed whatever they say."""
    text = b64(header.encode()) + "." + b64(payload.encode())
    return text + "." + b64(sign(text, key))


HEAD = '{"alg":"ES256","typ":"at+jwt","kid":"es"}'
BODY = json.dumps(claims())


def mac(secret, kid):
    text = b64(json.dumps({"alg": "HS256", "typ": "at+jwt", "kid": kid}).encode()) + "." + b64(BODY.encode())
    return text + "." + b64(hmac.new(secret, text.encode(), hashlib.sha256).digest())


def parts(token, at, change):
    split = token.split(".")
    split[at] = change(split[at])
    return ".".join(split)


def stray_bits(part):
    """Another spelling of the same bytes: 64 bytes leave four bits of the last character over."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return part[:-1] + alphabet[alphabet.index(part[-1]) | 1]


def pem(key):
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


CASES = []


def case(says, what, token):
    CASES.append({"what": what, "says": says, "token": token})


VALID = signed()
case(SUBJECT, "ES256", VALID)
case(SUBJECT, "ES256 by another key", signed(key=ES_OTHER, kid="es-other"))
case(SUBJECT, "EdDSA", signed(key=ED, alg="EdDSA", kid="ed"))
case(SUBJECT, "RS256", signed(key=RS, alg="RS256", kid="rs"))
case(SUBJECT, "PS256", signed(key=PS, alg="PS256", kid="ps"))
case(SUBJECT, "RS256 by a key for either", signed(key=PS, alg="RS256", kid="ps"))
case(SUBJECT, "for several resources", signed(claims(aud=["https://other.example", AUDIENCE])))
case(SUBJECT, "typ in full", signed(typ="application/at+jwt"))
case(SUBJECT, "typ in capitals", signed(typ="AT+JWT"))
case(SUBJECT, "other claims", signed(claims(scope="a b", share=0.5, realm={"roles": [None, {"a": 1}]}, big=10**30)))
case(SUBJECT, "a clock ahead within bounds", signed(claims(nbf=NOW + 10, iat=NOW + 10)))
case(SUBJECT, "a second name of the key", signed(**{"x5t": "AA", "x5t#S256": "BB"}))
case(SUBJECT, "azp for client_id", signed(claims(client_id=None, azp="c")))
case(SUBJECT, "claims of Keycloak and Cognito", signed(claims(typ="Bearer", token_use="access")))

for name, token in {
    "two parts": VALID.rsplit(".", 1)[0],
    "four parts": VALID + ".AA",
    "an empty part": ".." + VALID,
    "padding": VALID + "==",
    "stray bits": parts(VALID, 2, stray_bits),
    "the other alphabet": parts(VALID, 2, lambda part: "+/" + part[2:]),
    "white space": VALID.replace(".", ".\n", 1),
    "a header that is an array": raw("[]", BODY),
    "a header that is no JSON": raw("{", BODY),
    "text after the header": raw(HEAD + "{}", BODY),
    "claims that are a string": raw(HEAD, '"claims"'),
    "no UTF-8": ".".join([b64(HEAD.encode()), b64(b'{"iss":"\xff"}'), "AA"]),
    "two algorithms": raw('{"alg":"none","typ":"at+jwt","kid":"es","alg":"ES256"}', BODY),
    "two subjects": raw(HEAD, BODY[:-1] + ',"sub":"agent-2"}'),
    "two subjects, one escaped": raw(HEAD, BODY[:-1] + ',"s\\u0075b":"agent-2"}'),
    "a claim twice, deep": raw(HEAD, BODY[:-1] + ',"a":[{"b":1,"b":2}]}'),
    "claims too deep": raw(HEAD, BODY[:-1] + ',"a":' + "[" * 17 + "]" * 17 + "}"),
    "a number for a subject": raw(HEAD, json.dumps(claims(sub=1))),
    "an empty subject": signed(claims(sub="")),
    "no subject": signed(claims(sub=None)),
    "a subject that is too long": signed(claims(sub="a" * 1025)),
    "an issuer in an array": raw(HEAD, json.dumps(claims(iss=[ISSUER]))),
    "no issuer": signed(claims(iss=None)),
    "no expiry": signed(claims(exp=None)),
    "an expiry in a string": raw(HEAD, json.dumps(claims(exp=str(NOW + 300)))),
    "an expiry with a fraction": signed(claims(exp=NOW + 300.5)),
    "an expiry with an exponent": raw(HEAD, BODY.replace(str(NOW + 300), "17e20")),
    "an expiry before 1970": raw(HEAD, json.dumps(claims(exp=-1))),
    "an expiry beyond time": raw(HEAD, json.dumps(claims(exp=9_007_199_254_741))),
    "an expiry that is null": raw(HEAD, BODY.replace(str(NOW + 300), "null")),
    "no time of issue": signed(claims(iat=None)),
    "a beginning in a string": raw(HEAD, json.dumps(claims(nbf=str(NOW)))),
    "a login in a string": raw(HEAD, json.dumps(claims(auth_time="today"))),
    "an audience that is a number": raw(HEAD, json.dumps(claims(aud=1))),
    "an audience among others that is none": raw(HEAD, json.dumps(claims(aud=[AUDIENCE, None]))),
    "two clients": signed(claims(azp="d")),
    "a key's name that is a number": raw('{"alg":"ES256","typ":"at+jwt","kid":1}', BODY),
}.items():
    case("token.malformed", name, token)

case("nobody", "one part", VALID.split(".")[0])
case("token.too_large", "8193 characters", signed(claims(pad="a" * 8000))[:8193].ljust(8193, "A"))
case("token.too_large", "a long header", signed(kid="e" * 1100))

for name, value in {
    "crit": ["exp"], "b64": False, "jku": ISSUER + "/jwks", "jwk": jwk("es", ES), "x5u": ISSUER, "x5c": ["AA=="],
    "zip": "DEF", "cty": "JWT", "enc": "A256GCM", "nonce": "n", "ALG": "none",
}.items():
    case("token.header", name, raw(json.dumps({**json.loads(HEAD), name: value}), BODY))

for name, token in {
    "none": b64(b'{"alg":"none","typ":"at+jwt","kid":"es"}') + "." + b64(BODY.encode()) + ".",
    "none, with the signature of another": raw('{"alg":"none","typ":"at+jwt","kid":"es"}', BODY),
    "nOnE": raw('{"alg":"nOnE","typ":"at+jwt","kid":"es"}', BODY),
    "es256": raw('{"alg":"es256","typ":"at+jwt","kid":"es"}', BODY),
    "no algorithm": raw('{"typ":"at+jwt","kid":"es"}', BODY),
    "HS256 with the public key as its secret": mac(pem(RS), "rs"),
    "HS256 with the public point as its secret": mac(ED.public_key().public_bytes_raw(), "ed"),
    "HS256 with a key that is shown": mac(b"secret of thirty-two bytes long!", "mac"),
    "ES384": signed(key=P384, alg="ES384", kid="p384"),
    "RS512": signed(key=RS, alg="RS512", kid="rs512"),
}.items():
    case("token.algorithm", name, token)

for name, token in {
    "no type": raw('{"alg":"ES256","kid":"es"}', BODY),
    "JWT": signed(typ="JWT"),
    "a logout token": signed(typ="logout+jwt"),
    "a DPoP proof": signed(typ="dpop+jwt"),
    "a type with more": signed(typ="at+jwt;x"),
    "an ID token by its nonce": signed(claims(nonce="n")),
    "an ID token by its at_hash": signed(claims(at_hash="h")),
    "an ID token by its c_hash": signed(claims(c_hash="h")),
    "events": signed(claims(events={})),
    "an ID token of Keycloak": signed(claims(typ="ID")),
    "a refresh token of Keycloak": signed(claims(typ="Refresh")),
    "an ID token of Cognito": signed(claims(token_use="id")),
}.items():
    case("token.type", name, token)

for issuer in ["https://other.example", ISSUER + "/", "HTTPS://idp.example", "https://idp.example:443", "idp.example"]:
    case("token.issuer", issuer, signed(claims(iss=issuer)))

for name, audience in {
    "another": "https://other.example/", "less": AUDIENCE[:-1], "more": AUDIENCE + "mcp", "none": None,
    "nobody": [], "others": ["https://a.example", "https://b.example"], "capitals": AUDIENCE.upper(),
}.items():
    case("token.audience", name, signed(claims(aud=audience)))

case("token.expired", "now", signed(claims(exp=NOW)))
case("token.expired", "a second ago", signed(claims(exp=NOW - 1)))
case("token.expired", "long ago", signed(claims(exp=0)))
for name in ["nbf", "iat", "auth_time"]:
    case("token.not_yet_valid", name, signed(claims(**{name: NOW + 11})))
case("token.bound", "DPoP", signed(claims(cnf={"jkt": "AA"})))
case("token.bound", "bound to nothing", signed(claims(cnf={})))
case("token.delegated", "act", signed(claims(act={"sub": "agent-2"})))
case("token.subject", "another subject", signed(claims(sub="agent-2")))
case("token.subject", "capitals", signed(claims(sub="Agent-1")))

for kid in ["nobody's", "weak", "small-e", "p384", "enc", "wrap", "rs512", "twice", "told", "short", "7", "", "ES"]:
    case("token.unknown_key", kid, signed(kid=kid))
case("token.unknown_key", "no name", raw('{"alg":"ES256","typ":"at+jwt"}', BODY))
case("token.unknown_key", "a key of 1024 bits", raw('{"alg":"RS256","typ":"at+jwt","kid":"weak"}', BODY, WEAK))

for alg, kid, key in [("ES256", "rs", RS), ("RS256", "es", ES), ("PS256", "rs", RS), ("RS256", "ed", ED), ("EdDSA", "es", ES)]:
    header = json.dumps({"alg": alg, "typ": "at+jwt", "kid": kid})
    case("token.key_type", f"{alg} with {kid}", raw(header, BODY, key))


def other_claims(_):
    return b64(json.dumps(claims(exp=NOW + 3000)).encode())


RS_VALID = signed(key=RS, alg="RS256", kid="rs")
ED_VALID = signed(key=ED, alg="EdDSA", kid="ed")
for name, token in {
    "other claims": parts(VALID, 1, other_claims),
    "other claims under RS256": parts(RS_VALID, 1, other_claims),
    "other claims under EdDSA": parts(ED_VALID, 1, other_claims),
    "another header": parts(VALID, 0, lambda _: b64(b'{"kid":"es","typ":"at+jwt","alg":"ES256"}')),
    "the key of another": parts(VALID, 0, lambda _: b64(b'{"alg":"ES256","typ":"at+jwt","kid":"es-other"}')),
    "the issuer's other key": signed(key=ES_OTHER, kid="es"),
    "the signature of another token": VALID.rsplit(".", 1)[0] + "." + signed(claims(jti="k")).rsplit(".", 1)[1],
    "a signature cut short": parts(VALID, 2, lambda _: b64(sign("x")[:63])),
    "a signature with more": parts(VALID, 2, lambda _: b64(sign("x") + b"\0")),
    "no signature": parts(VALID, 2, lambda _: ""),
    "a signature of zeros": parts(VALID, 2, lambda _: b64(bytes(64))),
    "a signature in DER": parts(VALID, 2, lambda _: b64(ES.sign(VALID.rsplit(".", 1)[0].encode(), ec.ECDSA(hashes.SHA256())))),
    "PSS where PKCS1 is meant": raw('{"alg":"RS256","typ":"at+jwt","kid":"ps"}', BODY, PS).rsplit(".", 1)[0]
    + "." + signed(key=PS, alg="PS256", kid="ps").rsplit(".", 1)[1],
    "a zero signature of Ed25519": parts(ED_VALID, 2, lambda _: b64(bytes(64))),
}.items():
    case("token.signature", name, token)

document = {"now": NOW, "issuer": ISSUER, "audience": AUDIENCE, "subject": SUBJECT, "keys": {"keys": KEYS}, "cases": CASES}
print(json.dumps(document, indent=1))
