"""Every setting of the orchestrator, read from the environment once and checked before anything starts."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from contract.keys import DEFAULT_KIND, HOST_ID_PATTERN
from contract.messages import AgentLimits
from orchestrator.domain.limits import Rate, parse_rate
from orchestrator.domain.prices import Prices, parse_prices
from orchestrator.kinds import CALLABLE_PATTERN, CALLABLE_WORDS, AgentKind, Kinds
from orchestrator.redis_address import check_address


class SettingsError(Exception):
    """A setting is wrong; the message names it and says what it should be."""


LONGEST_SOCKET_PATH = 107
"""What fits into a Unix socket's address on Linux (unix(7))."""

SHORTEST_KEY = 16
"""What is shorter can be guessed."""

SHORTEST_FROZEN_S = 2.0
"""A busy machine may keep an agent waiting for less."""

SECRETS = frozenset({
    "REDIS_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET", "ADMIN_TOKEN", "API_KEYS",
    "JWT_SECRET", "JWT_JWKS_URL", "JWT_AUDIENCE", "JWT_ISSUER", "JWT_TENANT_CLAIM",
    "ECS_AGENT_URI",
})  # fmt: skip
"""No agent is given these."""

AGENT_VARIABLES = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "XDG_CACHE_HOME",
    "PYTHON*", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_*", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "GREENROOM_HOME", "HOST_ID", "LOG_LEVEL", "AGENT", "AGENT_*", "ASSEMBLY_*", "GROQ_*", "INWORLD_*",
    "OTEL_EXPORTER_OTLP_ENDPOINT",  # not its headers, which have the collector's key: AGENT_ENV can give them
)  # fmt: skip
"""What agents are given of the environment: names, and patterns with ``*``."""

CommaList = Annotated[tuple[str, ...], NoDecode]


def _rate(value: object) -> object:
    return parse_rate(value) if isinstance(value, str) else value


def _prices(value: object) -> object:
    return parse_prices(value) if isinstance(value, str) else value


RateSetting = Annotated[Rate | None, NoDecode, BeforeValidator(_rate)]
"""Written as ``20/minute``; None is no limit, written as ``0``."""


class Settings(BaseSettings):
    """The orchestrator's settings; each is the environment variable of its upper-case name.

    Raises:
        SettingsError: from ``load_settings``, naming the variable and what it should be.
    """

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True, allow_inf_nan=False)

    # Where things are
    redis_url: str = "redis://127.0.0.1:6379/0"
    livekit_url: str = "ws://127.0.0.1:7880"
    livekit_public_url: str | None = None
    """What a browser is told; the same as ``LIVEKIT_URL`` unless that is a private address."""
    livekit_api_key: str = Field(min_length=1)
    livekit_api_secret: SecretStr
    bind: str = "127.0.0.1"
    port: int = Field(default=8080, ge=1, le=65535)
    greenroom_home: Path = Path(".greenroom")
    frontend_dir: Path | None = None
    """The built frontend; without one, what was built in this installation."""
    host_id: str = Field(
        default_factory=socket.gethostname,
        validation_alias=AliasChoices("HOST_ID", "RAILWAY_REPLICA_ID", "host_id"),
    )

    # The pool
    max_bots: int = Field(default=50, ge=1, le=10_000)
    prewarm_pool_size: int = Field(default=3, ge=0)
    pool_cap: int | None = Field(default=None, ge=0)
    """Arrivals raise the pool's target to so many at most; 0: never; none: half of ``MAX_BOTS``."""
    pool_scale_down_s: float = Field(default=300.0, ge=0, le=3600)
    """The target falls when there have been fewer arrivals for so long."""
    max_queue: int = Field(default=20, ge=0, le=10_000)
    """Starts that may wait for capacity at ``MAX_BOTS``; one more is refused."""
    spawn_concurrency: int = Field(default=4, ge=1, le=64)
    spawn_timeout_s: float = Field(default=10.0, gt=0, le=45)
    spawn_breaker_failures: int = Field(default=5, ge=1, le=1000)
    """Spawns that fail in a row; then none is begun for a while."""
    spawn_breaker_max_open_s: float = Field(default=60.0, gt=0, le=200)
    """The longest such while; below the broker's visibility time-out, for a refill waits in a worker for so long."""
    warm_max_age_s: float = Field(default=3600.0, gt=0)
    """A waiting agent older than this is replaced by a fresh one."""

    # A session
    assign_lease_s: float = Field(default=60.0, gt=0)
    """An assigned session whose user has not joined by then is ended."""
    reconnect_grace_s: float = Field(default=30.0, ge=0)
    inactive_timeout_s: float = Field(default=1800.0, gt=0)
    max_call_s: float = Field(default=3600.0, gt=0)
    agent_orphan_s: float = Field(default=60.0, gt=0)
    session_record_s: float = Field(default=86_400.0, ge=1)
    """How long the record of an ended session stays."""
    token_ttl_s: float = Field(default=3600.0, ge=60)
    max_replacements: int = Field(default=2, ge=0, le=100)
    """Agents that may die in one call and are replaced; at the next one the session fails."""

    # The host
    agent: str = "agent.assistant:assistant"
    """``module:callable`` that returns the livekit-agents ``Agent`` for an assignment: the kind ``default``."""
    agents_file: Path | None = None
    """More kinds of agents (``orchestrator.kinds``)."""
    agent_filter: CommaList = ()
    """The kinds that this machine's host and worker serve; none: all."""
    zygote_module: str = "agent.zygote"
    agent_env: CommaList = ()
    """More environment variables that agents are given, by name or pattern (``OPENAI_*``)."""
    agent_user: str | None = None
    """The user that agents run as; None for the host's own."""
    agent_memory_mb: int = Field(default=2048, ge=256)
    """Some 150 of these an agent shares with the zygote."""
    agent_open_files: int = Field(default=1024, ge=64, le=1_000_000)
    agent_processes: int = Field(default=64, ge=1, le=10_000)
    agent_nice: int = Field(default=5, ge=0, le=19)
    host_lease_s: float = Field(default=5.0, gt=0)
    """A host whose heartbeat is older hands out no agent."""
    heartbeat_s: float = Field(default=1.0, gt=0)
    host_lost_s: float = Field(default=10.0, gt=0)
    """A host whose heartbeat is older is lost: its sessions get agents on other hosts."""
    reconcile_s: float = Field(default=2.0, gt=0)
    kill_grace_s: float = Field(default=3.0, gt=0)
    """Between SIGTERM and SIGKILL."""
    log_max_bytes: int = Field(default=1_000_000, ge=10_000)
    memory_reserve_mb: int = Field(default=512, ge=0)
    """Memory (MiB) of its machine that a host leaves free."""
    call_memory_mb: int = Field(default=40, ge=1)
    """Private memory (MiB) of an agent in a call, until it was measured."""
    processors_percent: int = Field(default=80, ge=0, le=1000)
    """Of its machine's processors that a host lets agents in calls use, as measured; 0: they do not limit."""
    drain_timeout_s: float = Field(default=3600.0, gt=0, le=604_800)
    """A call that is not over by then is ended, when its host drains."""
    drain_on_term: bool = False
    """SIGTERM means that the machine is being stopped: the host lets its calls end first."""
    ecs_agent_uri: str | None = None
    """Set by Amazon ECS: a host with calls asks its agent not to stop the task."""

    # Who may
    admin_token: SecretStr | None = None
    api_keys: CommaList = ()
    jwt_secret: SecretStr | None = None
    jwt_jwks_url: str | None = None
    jwt_audience: str | None = None
    jwt_issuer: str | None = None
    jwt_tenant_claim: str | None = None
    """The claim that names whose customer a token's subject is: ``START_LIMIT_TENANT`` counts all of them together."""
    allowed_origins: CommaList = ()
    allow_client_prompts: bool = False

    # How much
    start_limit_user: RateSetting = Rate(20, 60)
    """Starts of one user of one caller."""
    start_limit_tenant: RateSetting = Rate(100, 60)
    """Starts of one caller, by API key or JWT; with ``JWT_TENANT_CLAIM`` of one tenant."""
    start_limit_ip: RateSetting = Rate(100, 60)
    """Starts from one address, of callers who present nothing."""
    max_sessions_per_user: int = Field(default=0, ge=0, le=10_000)
    """Sessions that one user may have at once; 0 for any number."""
    trusted_proxies: CommaList = ()
    """Networks whose ``X-Forwarded-For`` is believed."""

    # The request path
    ack_timeout_s: float = Field(default=0.25, gt=0, le=1.5)
    """How long an agent has to acknowledge a claim before the next one is tried, unless it only lacks a processor."""
    claim_tries: int = Field(default=4, ge=1, le=32)

    # What is told
    prices: Annotated[Prices, NoDecode, BeforeValidator(_prices)] = Field(default_factory=Prices)
    """What providers charge, in US dollars for one of a unit."""
    otel_exporter_otlp_endpoint: str | None = None
    """Where traces go, by OTLP over HTTP; none: there are none."""
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    _kinds: Kinds

    @field_validator("api_keys", "allowed_origins", "trusted_proxies", "agent_env", "agent_filter", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, value: str) -> str:
        return check_address(value)

    @field_validator("livekit_url", "livekit_public_url")
    @classmethod
    def _livekit_scheme(cls, value: str | None) -> str | None:
        return value and _check_url(value, ("ws", "wss", "http", "https"), "wss://my-project.livekit.cloud")

    @field_validator("jwt_jwks_url")
    @classmethod
    def _jwks_scheme(cls, value: str | None) -> str | None:
        return value and _check_url(value, ("http", "https"), "https://login.example.com/.well-known/jwks.json")

    @field_validator("ecs_agent_uri")
    @classmethod
    def _ecs_scheme(cls, value: str | None) -> str | None:
        return value and _check_url(value, ("http",), "http://169.254.170.2/api/0123")

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _collector(cls, value: str | None) -> str | None:
        return value and _check_url(value, ("http", "https"), "http://127.0.0.1:4318")

    @field_validator("host_id")
    @classmethod
    def _host_name(cls, value: str) -> str:
        return _check_form(value, HOST_ID_PATTERN, "1 to 64 letters, digits, dots, underscores and hyphens")

    @field_validator("agent")
    @classmethod
    def _callable_name(cls, value: str) -> str:
        return _check_form(value, CALLABLE_PATTERN, CALLABLE_WORDS)

    @field_validator("zygote_module")
    @classmethod
    def _module_name(cls, value: str) -> str:
        return _check_form(value, r"[A-Za-z_][\w.]*", "a Python module's name, such as agent.zygote")

    @field_validator("livekit_api_secret", "jwt_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        return value and _check_secret(value, 32)

    @field_validator("admin_token")
    @classmethod
    def _hard_to_guess(cls, value: SecretStr | None) -> SecretStr | None:
        return value and _check_secret(value, SHORTEST_KEY)

    @field_validator("api_keys")
    @classmethod
    def _hard_to_guess_each(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if any(len(value) < SHORTEST_KEY for value in values):
            raise ValueError(f"each key should have {SHORTEST_KEY} characters at least")
        return values

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            try:
                ip_network(value)
            except ValueError:
                raise ValueError(f"should be addresses or networks such as 10.0.0.0/8, not {value!r}") from None
        return values

    @field_validator("agent_env")
    @classmethod
    def _no_secret_of_ours(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            _check_form(value, r"[A-Za-z_*][A-Za-z0-9_*]*", "names of variables, or patterns such as OPENAI_*")
            if value.upper() in SECRETS:
                raise ValueError(f"{value} is the orchestrator's own, and no agent is given it")
        return values

    @field_validator("agent_orphan_s", "max_call_s", "inactive_timeout_s", "warm_max_age_s")
    @classmethod
    def _below_a_week(cls, value: float) -> float:
        if value > 604_800:
            raise ValueError("should be a week (604800) at most")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Settings:
        if self.prewarm_pool_size > self.max_bots:
            raise ValueError(
                f"PREWARM_POOL_SIZE should be at most MAX_BOTS ({self.max_bots}), not {self.prewarm_pool_size}"
            )
        if self.pool_cap is not None and self.pool_cap > self.max_bots:
            raise ValueError(f"POOL_CAP should be at most MAX_BOTS ({self.max_bots}), not {self.pool_cap}")
        if self.jwt_secret and self.jwt_jwks_url:
            raise ValueError("JWT_SECRET and JWT_JWKS_URL exclude each other: set what callers' tokens are signed by")
        if (self.jwt_audience or self.jwt_issuer or self.jwt_tenant_claim) and not (
            self.jwt_secret or self.jwt_jwks_url
        ):
            raise ValueError(
                "JWT_AUDIENCE, JWT_ISSUER and JWT_TENANT_CLAIM need JWT_SECRET or JWT_JWKS_URL: else no token is read"
            )
        if self.heartbeat_s * 2 > self.host_lease_s:
            raise ValueError("HOST_LEASE_S should be at least twice HEARTBEAT_S")
        if self.host_lost_s < self.host_lease_s:
            raise ValueError("HOST_LOST_S should be at least HOST_LEASE_S")
        if (length := len(os.fsencode(self.host_socket))) > LONGEST_SOCKET_PATH:
            most = LONGEST_SOCKET_PATH
            raise ValueError(f"GREENROOM_HOME should be shorter: its socket's path has {length} bytes, {most} at most")
        return self

    @model_validator(mode="after")
    def _has_kinds(self) -> Settings:
        self._kinds = self.read_kinds(self.agent)
        return self

    def read_kinds(self, agent: str) -> Kinds:
        """The kinds of agents as ``AGENTS_FILE`` has them now, the default one with this module.

        Raises:
            ValueError: the file or ``AGENT_FILTER`` is wrong; what and where, in words.
        """
        default = AgentKind(DEFAULT_KIND, agent, self.prewarm_pool_size, memory_mb=self.agent_memory_mb)
        return Kinds.read(self.agents_file, default, self.agent_filter, self.max_bots)

    @property
    def kinds(self) -> Kinds:
        """The kinds of agents that there are, and which of them this machine serves."""
        return self._kinds

    @property
    def agent_limits(self) -> AgentLimits:
        """What each agent is told about its own ends, and what it may use up."""
        return AgentLimits(
            orphan_s=self.agent_orphan_s,
            reconnect_grace_s=self.reconnect_grace_s,
            max_call_s=self.max_call_s,
            max_idle_s=self.inactive_timeout_s,
            # Before the host can be taken for lost, which is that long after its last heartbeat.
            frozen_s=max(SHORTEST_FROZEN_S, 0.8 * self.host_lost_s),
            memory_mb=self.agent_memory_mb,
            open_files=self.agent_open_files,
            nice=self.agent_nice,
        )

    @property
    def most_by_demand(self) -> int:
        """The pool's largest target that arrivals can bring about."""
        return self.max_bots // 2 if self.pool_cap is None else self.pool_cap

    @property
    def host_socket(self) -> Path:
        """The host daemon's Unix socket on this machine."""
        return self.host_dir / "host.sock"

    @property
    def host_dir(self) -> Path:
        """What the host daemon keeps on disk: its socket, agents' identities, last words and logs."""
        return self.greenroom_home.absolute() / "host"

    @property
    def frontend(self) -> Path:
        """The built frontend's folder; it may be missing."""
        return self.frontend_dir or Path(__file__).parents[1] / "frontend" / "dist"

    @property
    def public_livekit_url(self) -> str:
        """The LiveKit address that callers are given."""
        return self.livekit_public_url or self.livekit_url


def _check_url(value: str, schemes: tuple[str, ...], example: str) -> str:
    # Not the parser's own words: they quote the address, which may have a password in it.
    with suppress(ValueError):
        parts = urlsplit(value)
        if parts.scheme in schemes and parts.hostname and parts.port != 0:
            return value
    raise ValueError(f"should be an address such as {example}")


def _check_form(value: str, form: str, words: str) -> str:
    if not re.fullmatch(form, value):
        raise ValueError(f"should be {words}, not {value!r}")
    return value


def _check_secret(value: SecretStr, least: int) -> SecretStr:
    if len(value.get_secret_value()) < least:
        raise ValueError(f"should have {least} characters at least")
    return value


def load_settings(**overrides: object) -> Settings:
    """Read and check the environment.

    Raises:
        SettingsError: one line for each wrong variable, with its name and what it should be.
    """
    return _checked(Settings, overrides)


class Elsewhere(BaseSettings):
    """Settings of another machine: this one's environment says nothing about them."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is handed over, and nothing else."""
        return (init_settings,)


class _SettingsElsewhere(Elsewhere, Settings):
    """The orchestrator's."""


def read_elsewhere(environ: Mapping[str, str]) -> Settings:
    """Check the variables of another machine. ``AGENTS_FILE`` is on that one, so what hangs on it is left out.

    Raises:
        SettingsError: as from ``load_settings``.
    """
    given = {name.lower(): value for name, value in environ.items() if value and name.lower() in Settings.model_fields}
    if given.pop("agents_file", None):
        given.pop("agent_filter", None)
    return _checked(_SettingsElsewhere, given)


def _checked(kind: type[Settings], given: Mapping[str, object]) -> Settings:
    try:
        return kind(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError("\n".join(_lines(error))) from None


def _lines(error: ValidationError) -> list[str]:
    lines = []
    for item in error.errors(include_url=False, include_input=False):
        name = str(item["loc"][0]).upper() if item["loc"] else ""
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "missing":
            message = "is not set; `make run` writes a .env with generated values"
        lines.append(f"{name}: {message}" if name else message)
    return lines


@lru_cache(maxsize=1)
def current_settings() -> Settings:
    """The settings of this process, read once."""
    return load_settings()
