"""A little token issuer: discovery, keys, and the client-credentials grant.

    python issuer.py CLIENT_ID CLIENT_SECRET

Prints PORT=… once it listens. A token is good for the audience that was asked
for, and for nobody when none was: so a verifier that accepts it proves that the
audience was sent.
"""

import base64
import binascii
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote_plus

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

KEY_ID = "the-only-key"
LIFETIME_SECONDS = 300
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Issuer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, client_id: str, client_secret: str):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.client = (client_id, client_secret)

    def discovery(self) -> dict:
        return {
            "issuer": self.url,
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
        }

    def keys(self) -> dict:
        key = jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
        return {"keys": [key | {"kid": KEY_ID, "use": "sig", "alg": "RS256"}]}

    def token(self, form: dict[str, str]) -> dict:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": f"service-account-{self.client[0]}",
            "azp": self.client[0],
            "client_id": self.client[0],
            "iat": now,
            "exp": now + LIFETIME_SECONDS,
        }
        for claim, field in {"aud": "audience", "scope": "scope"}.items():
            if field in form:
                claims[claim] = form[field]
        return {
            "access_token": jwt.encode(claims, KEY, algorithm="RS256", headers={"kid": KEY_ID}),
            "token_type": "Bearer",
            "expires_in": LIFETIME_SECONDS,
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Issuer

    def do_GET(self) -> None:
        match self.path:
            case "/.well-known/openid-configuration":
                self.answer(200, self.server.discovery())
            case "/jwks":
                self.answer(200, self.server.keys())
            case _:
                self.answer(404, {"error": "not_found"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        if self.path != "/token":
            self.answer(404, {"error": "not_found"})
        elif form.get("grant_type") != "client_credentials":
            self.answer(400, {"error": "unsupported_grant_type"})
        elif self.who_asks(form) != self.server.client:
            self.answer(401, {"error": "invalid_client"})
        else:
            self.answer(200, self.server.token(form))

    def who_asks(self, form: dict[str, str]) -> tuple[str, str]:
        scheme, _, credentials = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return form.get("client_id", ""), form.get("client_secret", "")
        try:
            name, _, secret = base64.b64decode(credentials).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return unquote_plus(name), unquote_plus(secret)

    def answer(self, status: int, value: dict) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    issuer = Issuer(*sys.argv[1:])
    print(f"PORT={issuer.server_port}", flush=True)
    issuer.serve_forever()
