"""The network: where programs and Redis live, and who may speak with whom."""

from __future__ import annotations

from aws_cdk import Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_logs as logs
from constructs import Construct

from deploy.aws.config import Config

API_PORT = 8080
REDIS_PORT = 6379
TLS_PORT = 443

ENDPOINTS = {
    "EcrApi": ec2.InterfaceVpcEndpointAwsService.ECR,
    "EcrDocker": ec2.InterfaceVpcEndpointAwsService.ECR_DOCKER,
    "Logs": ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
    "Secrets": ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER,
}
"""What tasks need of AWS to start and to log: it goes on when the way to the internet does not."""


class Network(Stack):
    """Two zones; public subnets have the load balancer, private ones the tasks, isolated ones Redis."""

    def __init__(self, scope: Construct, construct_id: str, *, config: Config, **options: object) -> None:
        super().__init__(scope, construct_id, **options)  # type: ignore[arg-type]
        self.vpc = self._vpc()
        self.balancer_group = self._group("Balancer", "the load balancer")
        self.api_group = self._group("Api", "API tasks")
        self.voice_group = self._group("Voice", "voice tasks: hosts, workers, agents")
        self.beat_group = self._group("Beat", "beat tasks")
        self.redis_group = self._group("Redis", "Redis")
        self._tasks = (self.api_group, self.voice_group, self.beat_group)
        self._endpoints()
        self._let_in()
        self._let_out()
        self._let_traces_out(config.traces_port)

    def _vpc(self) -> ec2.Vpc:
        kinds = ec2.SubnetType
        vpc = ec2.Vpc(
            self,
            "Vpc",
            max_azs=2,
            nat_gateways=2,  # one in each zone: a zone that is lost takes only its own calls along
            restrict_default_security_group=False,  # that would be a function with rights of its own; nothing uses it
            subnet_configuration=[
                ec2.SubnetConfiguration(name="public", subnet_type=kinds.PUBLIC, cidr_mask=24),
                ec2.SubnetConfiguration(name="tasks", subnet_type=kinds.PRIVATE_WITH_EGRESS, cidr_mask=20),
                ec2.SubnetConfiguration(name="redis", subnet_type=kinds.PRIVATE_ISOLATED, cidr_mask=24),
            ],
        )
        group = logs.LogGroup(self, "FlowLogs", retention=logs.RetentionDays.ONE_MONTH)
        vpc.add_flow_log(
            "Rejected",
            destination=ec2.FlowLogDestination.to_cloud_watch_logs(group),
            traffic_type=ec2.FlowLogTrafficType.REJECT,
        )
        return vpc

    def _endpoints(self) -> None:
        self.vpc.add_gateway_endpoint("S3", service=ec2.GatewayVpcEndpointAwsService.S3)  # the image's layers
        group = self._group("Endpoints", "AWS, from within")
        for tasks in self._tasks:
            group.connections.allow_from(tasks, ec2.Port.tcp(443))
        for name, service in ENDPOINTS.items():
            self.vpc.add_interface_endpoint(name, service=service, open=False, security_groups=[group])

    def _group(self, name: str, whose: str) -> ec2.SecurityGroup:
        return ec2.SecurityGroup(self, name, vpc=self.vpc, description=f"Greenroom: {whose}", allow_all_outbound=False)

    def _let_in(self) -> None:
        anyone = ec2.Peer.any_ipv4()
        self.balancer_group.add_ingress_rule(anyone, ec2.Port.tcp(443), "callers")
        self.balancer_group.add_ingress_rule(anyone, ec2.Port.tcp(80), "callers who are sent on to TLS")
        self.api_group.connections.allow_from(self.balancer_group, ec2.Port.tcp(API_PORT))
        for tasks in self._tasks:
            self.redis_group.connections.allow_from(tasks, ec2.Port.tcp(REDIS_PORT))

    def _let_out(self) -> None:
        """AWS, LiveKit and the providers by TLS; the agents' sound by UDP, to wherever LiveKit Cloud takes it."""
        anywhere = ec2.Peer.any_ipv4()
        for tasks in self._tasks:
            tasks.add_egress_rule(anywhere, ec2.Port.tcp(TLS_PORT), "AWS, LiveKit, providers")
        self.voice_group.add_egress_rule(anywhere, ec2.Port.udp_range(1024, 65535), "sound, and STUN")
        self.voice_group.add_egress_rule(anywhere, ec2.Port.udp(443), "sound over TURN")
        self.voice_group.add_egress_rule(anywhere, ec2.Port.tcp(7881), "sound where UDP does not pass")

    def _let_traces_out(self, port: int | None) -> None:
        """To the collector, wherever it is; beat has no traces."""
        if port is None or port == TLS_PORT:
            return
        for tasks in (self.api_group, self.voice_group):
            tasks.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(port), "traces")
