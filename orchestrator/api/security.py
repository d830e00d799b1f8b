"""Who may: callers by API key or JWT, admins by ``ADMIN_TOKEN``. Secrets are compared in constant time."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from dataclasses import dataclass
from json import JSONDecodeError
from typing import Any

import jwt
from starlette.datastructures import Headers

from orchestrator.domain.errors import ForbiddenError, IdentityUnavailableError, UnauthorizedError
from orchestrator.settings import Settings

JWKS_TIMEOUT_S = 2.0
JWT_LEEWAY_S = 60
"""So far an issuer's clock may be from ours, as LiveKit's may for its webhooks."""
PUBLIC_KEY_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]


@dataclass(frozen=True)
class Caller:
    """Who sent a request."""

    name: str
    """Stable and without a secret in it; idempotency keys are bound to it."""
    trusted: bool
    """Presented an API key, a JWT or the admin token."""
    tenant: str = ""
    """Of all whose starts are counted together; empty for this caller's alone."""
    is_user: bool = False
    """It is one user, whatever ``userId`` it names."""


ANONYMOUS = Caller("anonymous", trusted=False)
ADMIN = Caller("admin", trusted=True)


class Security:
    """The checks, for these settings."""

    def __init__(self, settings: Settings) -> None:
        s = settings
        self._admin = s.admin_token and _digest(s.admin_token.get_secret_value())
        self._api_keys = [_digest(key) for key in s.api_keys]
        self._secret = s.jwt_secret and s.jwt_secret.get_secret_value()
        self._jwks = jwt.PyJWKClient(s.jwt_jwks_url, timeout=JWKS_TIMEOUT_S) if s.jwt_jwks_url else None
        self._jwks_lock = asyncio.Lock()
        self._audience, self._issuer, self._tenant_claim = s.jwt_audience, s.jwt_issuer, s.jwt_tenant_claim
        self._open = not (self._api_keys or self._secret or self._jwks)

    def is_admin(self, headers: Headers) -> bool:
        """Whether the admin token was presented."""
        presented = _bearer(headers)
        return bool(self._admin and presented) and hmac.compare_digest(_digest(presented), self._admin or b"")

    def require_admin(self, headers: Headers) -> None:
        """Let only the admin pass.

        Raises:
            ForbiddenError: no ``ADMIN_TOKEN`` is set, so nobody is the admin.
            UnauthorizedError: it was not presented, or another one was.
        """
        if self._admin is None:
            raise ForbiddenError("Admin calls are off: set ADMIN_TOKEN and start again.")
        if not self.is_admin(headers):
            raise UnauthorizedError("Present the admin token: Authorization: Bearer $ADMIN_TOKEN.")

    async def caller(self, headers: Headers) -> Caller:
        """Who this is.

        Raises:
            UnauthorizedError: callers must present something, and this is not it.
            IdentityUnavailableError: the keys of the JWTs cannot be read.
        """
        key, token = headers.get("x-api-key", ""), _bearer(headers)
        known = self._by_api_key(key) or self._by_api_key(token) or (ADMIN if self.is_admin(headers) else None)
        for presented in filter(None, (token, key)):
            known = known or await self._by_jwt(presented)
        if known is not None:
            return known
        if self._open:
            return ANONYMOUS
        raise UnauthorizedError

    def _by_api_key(self, presented: str) -> Caller | None:
        digest = _digest(presented)
        # Every key is compared, so that the time taken does not tell which one came near.
        matches = [hmac.compare_digest(digest, key) for key in self._api_keys]
        return Caller(f"key:{digest.hex()[:16]}", trusted=True) if any(matches) else None

    async def _by_jwt(self, token: str) -> Caller | None:
        if self._secret is None and self._jwks is None:
            return None
        try:
            key, algorithms = await self._jwt_key(token)
            claims = self._decode(token, key, algorithms)
        except (jwt.PyJWKClientConnectionError, jwt.PyJWKSetError, JSONDecodeError) as error:
            raise IdentityUnavailableError from error
        except jwt.PyJWTError as error:
            if isinstance(error, jwt.PyJWKClientError) and not _has_keys(self._jwks):
                raise IdentityUnavailableError from error
            raise UnauthorizedError(_what_is_wrong(error)) from error
        return self._bearer_of(claims)

    def _bearer_of(self, claims: dict[str, Any]) -> Caller:
        issuer, subject = claims.get("iss", ""), claims.get("sub", "")
        if self._tenant_claim is None:
            return Caller(_named(issuer, subject), trusted=True)
        tenant = claims.get(self._tenant_claim)
        if not isinstance(tenant, str) or not tenant:
            raise UnauthorizedError(
                f"This token should name its subject's tenant: the claim {self._tenant_claim!r}, as a text."
            )
        if not subject:
            raise UnauthorizedError("This token should name its user: the claim 'sub', as a text.")
        # Two tenants' subjects of one name are two callers: neither is given the other's answers.
        return Caller(_named(issuer, tenant, subject), trusted=True, tenant=_named(issuer, tenant), is_user=True)

    async def _jwt_key(self, token: str) -> tuple[Any, list[str]]:
        if self._jwks is None:
            return self._secret, ["HS256"]
        key = _fetched_before(self._jwks, token)
        if key is None:
            async with self._jwks_lock:  # many callers at once cause one fetch
                key = await asyncio.to_thread(self._jwks.get_signing_key_from_jwt, token)
        # The key with its algorithm: a token that names another one is refused, not tried with a key of another kind.
        return key, PUBLIC_KEY_ALGORITHMS

    def _decode(self, token: str, key: Any, algorithms: list[str]) -> dict[str, Any]:
        return jwt.decode(
            token,
            key,
            algorithms=algorithms,
            audience=self._audience,
            issuer=self._issuer,
            leeway=JWT_LEEWAY_S,
            options={"require": ["exp"], "verify_aud": self._audience is not None},
        )


def _fetched_before(jwks: jwt.PyJWKClient, token: str) -> jwt.PyJWK | None:
    """The token's key where it was published before: who has a good token waits for nobody whose key is looked for."""
    known = jwks.jwk_set_cache.get() if jwks.jwk_set_cache else None
    return None if known is None else jwks.match_kid(known.keys, jwt.get_unverified_header(token).get("kid", ""))


def _has_keys(jwks: jwt.PyJWKClient | None) -> bool:
    """Whether keys were read: a token whose key is not among them is wrong then, and not the address of the keys."""
    return jwks is None or jwks.jwk_set_cache is None or jwks.jwk_set_cache.get() is not None


def _what_is_wrong(error: jwt.PyJWTError) -> str:
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"This token should have the claim {error.claim!r}."
    if isinstance(error, jwt.ExpiredSignatureError):
        return "This token has expired: present a new one."
    if isinstance(error, jwt.ImmatureSignatureError):
        return "This token is not valid yet, by its 'nbf' or 'iat': compare its issuer's clock with this server's."
    return "This token is not valid: wrong signature, audience or issuer, or a claim that cannot be read."


def _bearer(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _named(*claims: str) -> str:
    """These claims as one name, which others do not have."""
    return f"jwt:{json.dumps(claims)}"
