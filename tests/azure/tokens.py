"""The token service: a tenant with one application, whose secret the tests choose."""

from __future__ import annotations

import time
import urllib.parse
from dataclasses import dataclass, field
from typing import Any

import jwt

TENANT = "11111111-1111-1111-1111-111111111111"
APPLICATION = "22222222-2222-2222-2222-222222222222"
SECRET = "the application's secret"
_SIGNING_KEY = "the key of these tests, which nobody else has"
LOGIN = "https://login.microsoftonline.com"


@dataclass
class Tokens:
    """What the token service gives, and what of it is valid.

    Attributes:
        lifetime: Seconds that a token is valid.
        expired_secret: Whether the application's secret has expired.
        revoked_before: Tokens issued before this time are refused.
        given: The scopes of tokens that were given.
    """

    lifetime: float = 3600.0
    expired_secret: bool = False
    revoked_before: float = 0.0
    given: list[str] = field(default_factory=list)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Return the status and the JSON of a request to the token service."""
        if path.endswith("/.well-known/openid-configuration"):
            base = f"{LOGIN}/{TENANT}"
            return 200, {
                "issuer": f"{base}/v2.0",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "jwks_uri": f"{base}/discovery/v2.0/keys",
            }
        if path.startswith("/common/discovery/instance"):
            return 200, {
                "tenant_discovery_endpoint": f"{LOGIN}/{TENANT}/v2.0/.well-known/"
                "openid-configuration",
                "metadata": [
                    {
                        "preferred_network": "login.microsoftonline.com",
                        "preferred_cache": "login.windows.net",
                        "aliases": ["login.microsoftonline.com", "login.windows.net"],
                    }
                ],
            }
        if method == "POST" and path.endswith("/token"):
            return self._token(dict(urllib.parse.parse_qsl(body.decode())))
        return 404, {"error": "not_found", "error_description": path}

    def _token(self, asked: dict[str, str]) -> tuple[int, Any]:
        if self.expired_secret:
            return _refused("AADSTS7000222: The provided client secret keys for app are expired.")
        if (asked.get("client_id"), asked.get("client_secret")) != (APPLICATION, SECRET):
            return _refused("AADSTS7000215: Invalid client secret provided.")
        scope = asked["scope"].split()[0]
        self.given.append(scope)
        now = time.time()
        claims = {
            "aud": scope.removesuffix("/.default"),
            "iss": f"https://sts.windows.net/{TENANT}/",
            "iat": now,
            "nbf": now - 60,
            "exp": now + self.lifetime,
            "tid": TENANT,
            "appid": APPLICATION,
            "oid": APPLICATION,
            "ver": "1.0",
        }
        token = jwt.encode(claims, _SIGNING_KEY, "HS256")
        return 200, {
            "token_type": "Bearer",
            "expires_in": int(self.lifetime),
            "access_token": token,
        }

    def accepts(self, header: str | None) -> bool:
        """Return whether a request's ``Authorization`` is a valid token of this service."""
        if header is None or not header.startswith("Bearer "):
            return False
        try:
            claims = jwt.decode(
                header.removeprefix("Bearer "),
                _SIGNING_KEY,
                ["HS256"],
                options={"verify_aud": False},
            )
        except jwt.InvalidTokenError:
            return False
        return bool(claims["iat"] >= self.revoked_before)


def _refused(what: str) -> tuple[int, Any]:
    return 401, {"error": "invalid_client", "error_description": f"{what} Trace ID: 0"}
