"""What ``greenroom doctor --deploy PLATFORM`` checks: settings in, findings out. Nothing is asked over the network.

Each rule is for one thing, and a table says which are for which platform and program. Why they are so: docs/deploy.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from orchestrator.cli.checks import Finding
from orchestrator.cli.deploy_platforms import AWS_SECRETS, AWS_SECRETS_OF_SOME, COMPOSE_WANTS, Platform
from orchestrator.cli.environment import PROVIDERS, is_loopback
from orchestrator.cli.provision import HOST_END_S
from orchestrator.cli.serve import Program

if TYPE_CHECKING:
    from orchestrator.settings import Settings

OTHERS_END_S = 85
"""What a container's other programs may take to end before its host is told to, by supervisord.conf."""
FARGATE_STOP_S = 120
"""Fargate's longest stopTimeout."""
SHORTEST_PASSWORD = 16
REDIS_COPIES = 2
"""What Redis needs at most while it writes its file anew, over what it may hold: each page may be there twice."""
REDIS_UNITS = {
    "": 1, "b": 1, "k": 1000, "kb": 2**10, "m": 1000**2, "mb": 2**20, "g": 1000**3, "gb": 2**30,
}  # fmt: skip
"""As redis.conf has them."""
DOCKER_UNITS = {"": 1, "b": 1, "k": 2**10, "kb": 2**10, "m": 2**20, "mb": 2**20, "g": 2**30, "gb": 2**30}
DOCKER_SIZE = (rf"(?i:\d+(?:\.\d+)?(?:{'|'.join(DOCKER_UNITS)}))", "a size such as 3g")
CPUS = (r"\d+(\.\d+)?", "a number of processors such as 2 or 0.5")
NAME = r"(?:[A-Za-z0-9-]+\.)+[A-Za-z][A-Za-z0-9-]*"
COMPOSE_FORMS = {
    "DOMAIN": (NAME, "a name alone, such as voice.example.com"),
    "LIVEKIT_DOMAIN": (NAME, "a name alone, such as livekit.example.com"),
    "ACME_EMAIL": (r"[^@\s]+@[^@\s]+", "an address such as ops@example.com"),
    "GRAFANA_PASSWORD": (rf".{{{SHORTEST_PASSWORD},}}", f"{SHORTEST_PASSWORD} characters or more"),
    "GREENROOM_TAG": (r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", "an image's tag: letters, digits, dots and hyphens"),
    "HOSTS": (r"\d+", "a number of containers such as 2"),
    "HOST_CPUS": CPUS,
    "HOST_MEMORY": DOCKER_SIZE,
    "LIVEKIT_CPUS": CPUS,
    "LIVEKIT_MEMORY": DOCKER_SIZE,
    # It stands in quotes in the Alertmanager's configuration.
    "ALERT_WEBHOOK_URL": (r"https?://[!-&(-~]+", "an address such as https://hooks.example.com/…, without a '"),
}
"""What the file makes something of that is no setting of Greenroom's: the form of each, and that in words."""


@dataclass(frozen=True)
class Deployment:
    """What a platform would be given: the settings, and the variables that they were read from."""

    settings: Settings
    environ: Mapping[str, str]

    def has(self, name: str) -> bool:
        """Whether a variable is set, and not to nothing."""
        return bool(self.environ.get(name))


Rule = Callable[[Deployment], Finding]


def examine(platform: Platform, deployment: Deployment, program: Program = Program.ALL) -> list[Finding]:
    """Check everything that counts there; of one program, what it reads."""
    return [rule(deployment) for rule in RULES[platform].of(program)]


def _ok(what: str, found: str) -> Finding:
    return Finding("ok", what, found)


def _bad(what: str, found: str, remedy: str) -> Finding:
    return Finding("bad", what, found, remedy)


def _is_here(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname or "")


# --- for every platform ------------------------------------------------------------------------------------


def redis_is_elsewhere(deployment: Deployment) -> Finding:
    """A container has no Redis of its own."""
    if not deployment.has("REDIS_URL"):
        return _bad("REDIS_URL", "not set", "set it to the address of the Redis that all programs share")
    if _is_here(deployment.settings.redis_url):
        return _bad("REDIS_URL", "names this machine", "set it to an address that every container reaches")
    return _ok("REDIS_URL", "names another machine")


def livekit_is_elsewhere(deployment: Deployment) -> Finding:
    """Nor a LiveKit."""
    if not deployment.has("LIVEKIT_URL"):
        return _bad(
            "LIVEKIT_URL", "not set", "set it to your LiveKit's address, such as wss://my-project.livekit.cloud"
        )
    if _is_here(deployment.settings.livekit_url):
        return _bad("LIVEKIT_URL", "names this machine", "set it to an address that every container reaches")
    return _ok("LIVEKIT_URL", "names another machine")


def browsers_reach_livekit(deployment: Deployment) -> Finding:
    """A page that came over TLS may open no other connection."""
    url = deployment.settings.public_livekit_url
    if urlsplit(url).scheme in {"wss", "https"} and urlsplit(url).hostname and not _is_here(url):
        return _ok("LIVEKIT_PUBLIC_URL", "browsers are told an address with TLS")
    remedy = "set it to LiveKit's address for browsers, wss://…: a page with TLS may open no other"
    return _bad("LIVEKIT_PUBLIC_URL", f"browsers are told {url}", remedy)


def operators_may(deployment: Deployment) -> Finding:
    """Without the token nobody can drain, resize or look."""
    if deployment.settings.admin_token:
        return _ok("ADMIN_TOKEN", "set")
    return _bad("ADMIN_TOKEN", "not set: nobody can drain or resize", "set it: openssl rand -base64 32")


def callers_are_known(deployment: Deployment) -> Finding:
    """Each start is an agent, and each agent is money."""
    s = deployment.settings
    if s.api_keys or s.jwt_secret or s.jwt_jwks_url:
        return _ok("callers", "present a key or a token")
    remedy = "set API_KEYS, JWT_SECRET or JWT_JWKS_URL, unless the talk page is meant for everybody"
    return Finding("warn", "callers", "anybody may start a session", remedy)


def origins_are_named(deployment: Deployment) -> Finding:
    """Which other pages may call."""
    origins = deployment.settings.allowed_origins
    if "*" in origins:
        return _bad("ALLOWED_ORIGINS", "any page may call", "name the origins of your pages: https://www.example.com")
    insecure = [origin for origin in origins if not origin.startswith("https://")]
    if insecure:
        return _bad("ALLOWED_ORIGINS", f"{', '.join(insecure)} has no TLS", "serve those pages over https://")
    if origins:
        return _ok("ALLOWED_ORIGINS", ", ".join(origins))
    remedy = "name the origins of other pages that are to call: https://www.example.com"
    return Finding("warn", "ALLOWED_ORIGINS", "not set: only the pages beside the API may call", remedy)


def proxies_are_trusted(deployment: Deployment) -> Finding:
    """Else all callers behind the load balancer share its address, and its limit."""
    if deployment.settings.trusted_proxies:
        return _ok("TRUSTED_PROXIES", ", ".join(deployment.settings.trusted_proxies))
    remedy = "set it to the load balancer's network: else START_LIMIT_IP counts all callers as one"
    return Finding("warn", "TRUSTED_PROXIES", "not set", remedy)


def voice_is_real(deployment: Deployment) -> Finding:
    """The offline voice is a demonstration."""
    absent = [name for name in PROVIDERS if not deployment.has(name)]
    if not absent:
        return _ok("voice", "a provider for each part of it")
    return Finding("warn", "voice", f"a demonstration in part: {', '.join(absent)} not set", "set them")


def reachable_from_outside(deployment: Deployment) -> Finding:
    """Other containers come over the network."""
    if is_loopback(deployment.settings.bind):
        return _bad(
            "BIND", f"{deployment.settings.bind} is reached from this container alone", "set BIND=0.0.0.0, or ::"
        )
    return _ok("BIND", deployment.settings.bind)


def calls_outlive_sigterm(deployment: Deployment) -> Finding:
    """Nothing outlives its container: it has to wait for its calls."""
    if deployment.settings.drain_on_term:
        return _ok("DRAIN_ON_TERM", "calls end before their host does")
    return _bad("DRAIN_ON_TERM", "false: a deploy ends calls", "set DRAIN_ON_TERM=true")


def drains_outlast_calls(deployment: Deployment) -> Finding:
    """A host that stops ends what is left of its calls then, however long they may be."""
    drain_s, call_s = deployment.settings.drain_timeout_s, deployment.settings.max_call_s
    if drain_s >= call_s:
        return _ok("DRAIN_TIMEOUT_S", "a drain waits for the longest call")
    found = f"a drain ends calls after {drain_s:g} s, and they may take {call_s:g} (MAX_CALL_S)"
    return Finding("warn", "DRAIN_TIMEOUT_S", found, f"set DRAIN_TIMEOUT_S={ceil(call_s)}, or upgrades cut calls")


def stop_takes_s(settings: Settings) -> int:
    """The seconds that a container with a host may take from SIGTERM to its end, at most."""
    return OTHERS_END_S + ceil(settings.drain_timeout_s) + HOST_END_S


def _waits(deployment: Deployment, name: str) -> Finding:
    """Whether the variable of this name gives a host the seconds that its stop may take."""
    least = stop_takes_s(deployment.settings)
    value = deployment.environ.get(name) or "0"
    if value.isascii() and value.isdigit() and int(value) >= least:
        return _ok(name, f"{value} s are enough for the calls")
    return _bad(
        name, f"{value} s", f"set it to {least} (DRAIN_TIMEOUT_S and the programs' own ends), or calls are cut off"
    )


def host_id_is_each_ones_own(deployment: Deployment) -> Finding:
    """Two hosts by one name take each other's agents for their own."""
    if not deployment.environ.get("HOST_ID") or deployment.settings.host_id == socket.gethostname():
        return _ok("HOST_ID", "each container's own name")
    return _bad("HOST_ID", "one name for every container", "leave it out: a container's own name is taken")


# --- Compose -------------------------------------------------------------------------------------------------


def compose_variables_are_set(deployment: Deployment) -> Finding:
    """Without them `docker compose` starts nothing."""
    absent = [name for name in COMPOSE_WANTS if not deployment.has(name)]
    if absent:
        return _bad(".env", f"{', '.join(absent)} not set", "see docs/deploy/compose.md: each is a line there")
    return _ok(".env", "has what docker-compose.prod.yml wants")


def compose_values_will_do(deployment: Deployment) -> Finding:
    """With another value a container does not start, or asks for a certificate that nobody gives."""
    wrong = [
        f"{name} should be {words}"
        for name, (form, words) in COMPOSE_FORMS.items()
        if deployment.has(name) and not re.fullmatch(form, deployment.environ[name])
    ]
    if wrong:
        return _bad("values of .env", "; ".join(wrong), "see docs/deploy/compose.md: each is a line there")
    return _ok("values of .env", "are what docker-compose.prod.yml makes something of")


def images_have_a_name(deployment: Deployment) -> Finding:
    """Of its own for each version: an upgrade leaves the one before where it is."""
    if deployment.has("GREENROOM_TAG"):
        return _ok("GREENROOM_TAG", "set")
    found = "not set: an upgrade takes the place of the image to go back to"
    return Finding("warn", "GREENROOM_TAG", found, "set it: git rev-parse --short HEAD")


def redis_fits_its_container(deployment: Deployment) -> Finding:
    """While its file is written anew Redis is there twice, and the kernel ends what goes over its container's limit."""
    wanted, limit = (deployment.environ.get(name, "") for name in ("REDIS_MEMORY", "REDIS_CONTAINER_MEMORY"))
    wanted_bytes, limit_bytes = _bytes(wanted, REDIS_UNITS), _bytes(limit, DOCKER_UNITS)
    if not wanted_bytes:
        return _bad("REDIS_MEMORY", f"{wanted} is no size", "set it to one such as 512mb")
    if not limit_bytes:
        return _bad("REDIS_CONTAINER_MEMORY", f"{limit} is no size", "set it to one such as 1g")
    if limit_bytes < REDIS_COPIES * wanted_bytes:
        found = f"{limit}, and Redis may need {REDIS_COPIES} times {wanted} (REDIS_MEMORY)"
        least = ceil(REDIS_COPIES * wanted_bytes / 2**20)
        return _bad("REDIS_CONTAINER_MEMORY", found, f"set REDIS_CONTAINER_MEMORY={least}m, or lower REDIS_MEMORY")
    return _ok("REDIS_CONTAINER_MEMORY", f"{limit} are enough for {wanted} of Redis")


def _bytes(size: str, units: Mapping[str, int]) -> int | None:
    """A size with its unit in bytes; None for what is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]*)", size.lower())
    if not found or found[2] not in units or ("." in found[1] and units is REDIS_UNITS):  # Redis takes whole ones only
        return None
    return int(float(found[1]) * units[found[2]])


def redis_has_a_password(deployment: Deployment) -> Finding:
    """Agents reach Redis, and run others' code. It becomes part of an address, so some characters cannot be in it."""
    password = urlsplit(deployment.settings.redis_url).password or ""
    if len(password) >= SHORTEST_PASSWORD and re.fullmatch(r"[A-Za-z0-9_.~-]+", password):
        return _ok("Redis", "wants a password")
    remedy = f"set REDIS_PASSWORD to {SHORTEST_PASSWORD} letters and digits or more: openssl rand -hex 24"
    return _bad("Redis", "no password that will do", remedy)


def browsers_come_to_the_agents(deployment: Deployment) -> Finding:
    """With a LiveKit elsewhere, what browsers are told is no longer Caddy's to lead there."""
    own, told = urlsplit(deployment.settings.livekit_url), urlsplit(deployment.settings.public_livekit_url)
    if own.scheme != "wss" or own.hostname == told.hostname:
        return _ok("LIVEKIT_DOMAIN", "leads browsers to the LiveKit that agents use")
    found = f"agents are at {own.hostname}, browsers are sent to {told.hostname}"
    return _bad("LIVEKIT_DOMAIN", found, f"set LIVEKIT_DOMAIN={own.hostname}, or leave LIVEKIT_URL out")


def compose_waits(deployment: Deployment) -> Finding:
    """Docker kills what has not ended by then."""
    return _waits(deployment, "HOST_STOP_GRACE_S")


def alerts_reach_somebody(deployment: Deployment) -> Finding:
    """Without an address the Alertmanager keeps them to itself."""
    if deployment.has("ALERT_WEBHOOK_URL"):
        return _ok("ALERT_WEBHOOK_URL", "set")
    remedy = "set it to an address that takes Alertmanager's webhook"
    return Finding("warn", "ALERT_WEBHOOK_URL", "not set: alerts reach nobody", remedy)


# --- Railway -------------------------------------------------------------------------------------------------


def livekit_is_not_on_railway(deployment: Deployment) -> Finding:
    """No UDP comes in, so that LiveKit has to be elsewhere, and is reached over the internet."""
    host = urlsplit(deployment.settings.livekit_url)
    if host.scheme == "wss" and not (host.hostname or "").endswith(".railway.internal"):
        return _ok("LiveKit", "is outside of Railway")
    return _bad("LiveKit", "Railway lets no UDP in", "use LiveKit Cloud: LIVEKIT_URL=wss://my-project.livekit.cloud")


def binds_ipv6(deployment: Deployment) -> Finding:
    """Private addresses may be IPv6 only."""
    if deployment.settings.bind == "::":
        return _ok("BIND", "::, as private addresses may be IPv6 only")
    return _bad("BIND", f"{deployment.settings.bind} has no IPv6", "set BIND=::, as private addresses may be IPv6 only")


def railway_waits(deployment: Deployment) -> Finding:
    """It waits for nothing unless it is told to."""
    return _waits(deployment, "RAILWAY_DEPLOYMENT_DRAINING_SECONDS")


# --- Kubernetes ----------------------------------------------------------------------------------------------


def kubernetes_waits(deployment: Deployment) -> Finding:
    """The pod's own grace period is not among its variables: this says what it has to be."""
    least = stop_takes_s(deployment.settings)
    return _ok("terminationGracePeriodSeconds", f"has to be {least} at least, by DRAIN_TIMEOUT_S")


# --- AWS -----------------------------------------------------------------------------------------------------


def redis_has_tls(deployment: Deployment) -> Finding:
    """ElastiCache with encryption in transit speaks nothing else."""
    if urlsplit(deployment.settings.redis_url).scheme.startswith("rediss"):
        return _ok("Redis", "over TLS")
    return _bad("Redis", "without TLS", "REDIS_URL has to begin with rediss://")


def fargate_waits(deployment: Deployment) -> Finding:
    """Two minutes at most, whatever a task asks for; a call that goes on longer needs the task's protection."""
    takes = stop_takes_s(deployment.settings)
    if takes <= FARGATE_STOP_S:
        return _ok("stopTimeout", f"{takes} s are enough for the calls")
    found = f"a stop takes up to {takes} s, and Fargate waits {FARGATE_STOP_S}"
    return Finding("warn", "stopTimeout", found, "protect a task while calls run on it, as deploy/aws does")


def secrets_are_references(deployment: Deployment) -> Finding:
    """A task definition can be read by many: what is secret is named there, and kept elsewhere."""
    others = [name for name in AWS_SECRETS_OF_SOME if deployment.has(name)]
    if others:
        remedy = "name it in callersSecrets or providersSecrets (docs/deploy/aws.md): else no task hears of it"
        return Finding("warn", "Secrets Manager", f"{', '.join(others)} beside what tasks take by themselves", remedy)
    return _ok("Secrets Manager", f"has to hold {', '.join(AWS_SECRETS)}, though some be empty: tasks take them all")


@dataclass(frozen=True)
class Rules:
    """What is checked on one platform, by who reads it."""

    every: tuple[Rule, ...]
    """Every program."""
    api: tuple[Rule, ...]
    host: tuple[Rule, ...]
    files: tuple[Rule, ...] = ()
    """None of them: the platform's own files."""

    def of(self, program: Program) -> tuple[Rule, ...]:
        """What is checked of one program; of all of them, with what their files read."""
        own = {
            Program.ALL: self.files + self.every + self.api + self.host,
            Program.API: self.every + self.api,
            Program.HOST: self.every + self.host,
        }
        return own.get(program, self.every)


EVERY: tuple[Rule, ...] = (redis_is_elsewhere, livekit_is_elsewhere)
API: tuple[Rule, ...] = (browsers_reach_livekit, operators_may, callers_are_known, origins_are_named)
HOST: tuple[Rule, ...] = (voice_is_real, calls_outlive_sigterm, drains_outlast_calls, host_id_is_each_ones_own)

RULES: Mapping[Platform, Rules] = {
    Platform.COMPOSE: Rules(
        every=(redis_has_a_password, livekit_is_elsewhere),  # where Redis is the file says
        api=(*API, browsers_come_to_the_agents, proxies_are_trusted, reachable_from_outside),
        host=HOST,
        files=(
            compose_variables_are_set,
            compose_values_will_do,
            images_have_a_name,
            redis_fits_its_container,
            compose_waits,
            alerts_reach_somebody,
        ),
    ),
    # No TRUSTED_PROXIES: Railway's edges have another address each time.
    Platform.RAILWAY: Rules(
        every=(livekit_is_not_on_railway, *EVERY), api=(*API, binds_ipv6), host=(*HOST, railway_waits)
    ),
    Platform.KUBERNETES: Rules(
        every=EVERY, api=(*API, proxies_are_trusted, reachable_from_outside), host=(*HOST, kubernetes_waits)
    ),
    Platform.AWS: Rules(
        every=(redis_has_tls, *EVERY),
        api=(*API, proxies_are_trusted, reachable_from_outside),
        host=(*HOST, fargate_waits),
        files=(secrets_are_references,),
    ),
}
