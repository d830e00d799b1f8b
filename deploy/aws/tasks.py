"""The three kinds of tasks: what each runs, what it is told, which secrets it may read, how long it has to stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aws_cdk import Duration, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from contract.tracing import ENDPOINT as TRACES
from deploy.aws.config import Config
from deploy.aws.network import API_PORT

LIVEKIT_NAMES = ("LIVEKIT_API_KEY", "LIVEKIT_API_SECRET")
CALLERS_NAMES = ("ADMIN_TOKEN", "API_KEYS")
PROVIDERS_NAMES = ("ASSEMBLY_API_KEY", "GROQ_API_KEY", "INWORLD_API_KEY")

LONGEST_STOP_S = 120
"""Fargate waits no longer between SIGTERM and SIGKILL."""


@dataclass(frozen=True)
class Kind:
    """One kind of task."""

    name: str
    command: tuple[str, ...]
    """The programs that the image is to run."""
    cpus: float
    memory_gib: float
    stop_s: int
    secrets: Mapping[str, ecs.Secret]
    environment: dict[str, str]
    ports: tuple[int, ...] = ()


class TaskFactory:
    """Makes task definitions: one image, one network, one set of settings."""

    def __init__(self, scope: Construct, *, vpc: ec2.IVpc, redis_url: secretsmanager.ISecret, config: Config) -> None:
        self._scope = scope
        self._config = config
        repository = ecr.Repository.from_repository_name(scope, "Repository", config.repository)
        self._image = ecs.ContainerImage.from_ecr_repository(repository, config.image_tag)
        livekit = self._take("LiveKit", config.secret_live_kit, LIVEKIT_NAMES)
        self._shared = {"REDIS_URL": ecs.Secret.from_secrets_manager(redis_url)} | livekit
        self._callers = self._take("Callers", config.secret_callers, CALLERS_NAMES + config.callers_secrets)
        self._providers = self._take("Providers", config.secret_providers, PROVIDERS_NAMES + config.providers_secrets)
        self._environment = config.environment
        self._traces = {TRACES: config.traces_endpoint} if config.traces_endpoint else {}
        self._trusted = vpc.vpc_cidr_block

    def _take(self, construct_id: str, arn: str, names: tuple[str, ...]) -> dict[str, ecs.Secret]:
        secret = secretsmanager.Secret.from_secret_complete_arn(self._scope, construct_id, arn)
        return {name: ecs.Secret.from_secrets_manager(secret, name) for name in names}

    def api(self) -> Kind:
        """Stateless; the load balancer has taken it out before it is told to stop."""
        return Kind(
            "api", ("api",), 0.5, 1, 30, self._callers | self._shared,
            {"BIND": "0.0.0.0", "PORT": str(API_PORT), "TRUSTED_PROXIES": self._trusted}  # noqa: S104 - its own network
            | self._traces,
            (API_PORT,),
        )  # fmt: skip

    def voice(self) -> Kind:
        """A host with its agents and the worker beside it, in one container: the host knows its worker by its process,
        and supervisord starts either again without touching a call.
        """
        config = self._config
        return Kind(
            "voice", ("host", "worker"), config.voice_cpus, config.voice_memory_gib, LONGEST_STOP_S,
            self._providers | self._shared, {"DRAIN_ON_TERM": "true"} | _for_agents(config) | self._traces,
        )  # fmt: skip

    def beat(self) -> Kind:
        """The clock."""
        return Kind("beat", ("beat",), 0.25, 0.5, 30, self._shared, {})

    def define(self, kind: Kind, log_group: logs.ILogGroup) -> ecs.FargateTaskDefinition:
        """The task definition. Its execution role may read this kind's secrets; its task role may nothing as yet."""
        task = ecs.FargateTaskDefinition(
            self._scope,
            f"{kind.name.capitalize()}Task",
            cpu=int(kind.cpus * 1024),
            memory_limit_mib=int(kind.memory_gib * 1024),
            runtime_platform=ecs.RuntimePlatform(
                cpu_architecture=ecs.CpuArchitecture.X86_64, operating_system_family=ecs.OperatingSystemFamily.LINUX
            ),
        )
        task.add_container(
            kind.name,
            container_name=kind.name,
            image=self._image,
            command=list(kind.command),
            environment=self._environment | kind.environment,
            secrets=dict(kind.secrets),
            port_mappings=[ecs.PortMapping(container_port=port) for port in kind.ports],
            logging=ecs.LogDrivers.aws_logs(
                stream_prefix=kind.name, log_group=log_group, mode=ecs.AwsLogDriverMode.NON_BLOCKING
            ),
            stop_timeout=Duration.seconds(kind.stop_s),
            # Of this container's own programs; that Redis is away is no reason to end calls.
            health_check=ecs.HealthCheck(
                command=["CMD", "greenroom", "healthy"],
                interval=Duration.seconds(30),
                timeout=Duration.seconds(15),
                retries=5,
                start_period=Duration.seconds(60),
            ),
        )
        return task


def _for_agents(config: Config) -> dict[str, str]:
    """Agents are given what is named only."""
    names = [each for each in (config.settings.get("AGENT_ENV"), *config.providers_secrets) if each]
    return {"AGENT_ENV": ",".join(names)} if names else {}


def may_protect_itself(role: iam.IRole, cluster: ecs.ICluster, scope: Construct) -> None:
    """Let a task say that it is not to be stopped while a call runs, and nothing else."""
    tasks = Stack.of(scope).format_arn(service="ecs", resource="task", resource_name=f"{cluster.cluster_name}/*")
    role.add_to_principal_policy(
        iam.PolicyStatement(actions=["ecs:GetTaskProtection", "ecs:UpdateTaskProtection"], resources=[tasks])
    )
