"""The load balancer: TLS, and two groups of API tasks of which one serves."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from constructs import Construct

from deploy.aws.config import Config
from deploy.aws.network import API_PORT, Network

HEALTH_PATH = "/health/live"
"""Of the process alone: by /health/ready every API would be replaced whenever Redis is away."""

IDLE_S = 120
"""Event streams say something every few seconds."""

PATHS = ("/", "/console", "/embed.js", "/favicon.svg", "/a*/*")
"""What is for outside: the pages, ``/api/*`` and ``/assets/*``, in the five values that a rule may have. Not everything
but what is for inside (``/metrics``, ``/health/*``): paths are compared as they were sent, and ``/%6Detrics`` is
``/metrics`` to the API. Targets' health checks come by no rule.
"""

DEREGISTRATION_S = 60
"""Requests take milliseconds and pages open their event streams again elsewhere; no call's sound goes through here."""


class Balancer(Construct):
    """Listeners on 443 and 80. ECS moves the rule from one target group to the other when it deploys: there can be only
    one that leads to the API.
    """

    def __init__(self, scope: Construct, construct_id: str, *, network: Network, config: Config) -> None:
        super().__init__(scope, construct_id)
        self.balancer = elbv2.ApplicationLoadBalancer(
            self,
            "Balancer",
            vpc=network.vpc,
            internet_facing=True,
            security_group=network.balancer_group,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PUBLIC),
            idle_timeout=Duration.seconds(IDLE_S),
            drop_invalid_header_fields=True,
            deletion_protection=True,
        )
        self.blue, self.green = (self._group(name, network.vpc) for name in ("Blue", "Green"))
        self.rule = self._listen(config.certificate_arn)

    def _group(self, name: str, vpc: ec2.IVpc) -> elbv2.ApplicationTargetGroup:
        return elbv2.ApplicationTargetGroup(
            self,
            name,
            vpc=vpc,
            port=API_PORT,
            protocol=elbv2.ApplicationProtocol.HTTP,
            target_type=elbv2.TargetType.IP,
            deregistration_delay=Duration.seconds(DEREGISTRATION_S),
            health_check=elbv2.HealthCheck(
                path=HEALTH_PATH,
                interval=Duration.seconds(10),
                timeout=Duration.seconds(5),
                healthy_threshold_count=2,
                unhealthy_threshold_count=3,
            ),
        )

    def _listen(self, certificate_arn: str) -> elbv2.ApplicationListenerRule:
        """Callers are on 443; who comes to 80 is sent there. Who may come at all is the security group's to say."""
        self.balancer.add_listener(
            "Plain",
            port=80,
            open=False,
            default_action=elbv2.ListenerAction.redirect(protocol="HTTPS", port="443", permanent=True),
        )
        secure = self.balancer.add_listener(
            "Tls",
            port=443,
            open=False,
            certificates=[elbv2.ListenerCertificate.from_arn(certificate_arn)],
            ssl_policy=elbv2.SslPolicy.RECOMMENDED_TLS,
            default_action=elbv2.ListenerAction.fixed_response(404),
        )
        return elbv2.ApplicationListenerRule(
            self,
            "Outside",
            listener=secure,
            priority=1,
            conditions=[elbv2.ListenerCondition.path_patterns(list(PATHS))],
            action=elbv2.ListenerAction.weighted_forward(
                [
                    elbv2.WeightedTargetGroup(target_group=self.blue, weight=100),
                    elbv2.WeightedTargetGroup(target_group=self.green, weight=0),
                ]
            ),
        )
