"""The programs: API behind the load balancer, voice tasks that follow the calls, two beats."""

from __future__ import annotations

from aws_cdk import CfnOutput, Duration, Fn, RemovalPolicy, Stack
from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_logs as logs
from constructs import Construct

from deploy.aws.balancer import Balancer
from deploy.aws.config import Config
from deploy.aws.data import Data
from deploy.aws.measures import Alarms, PoolMetrics
from deploy.aws.network import API_PORT, Network
from deploy.aws.tasks import Kind, TaskFactory, may_protect_itself

BREAKER = ecs.DeploymentCircuitBreaker(enable=True, rollback=True)
BAKE_MINUTES = 10
"""So long the old API stays beside the new one, and an alarm goes back to it at once."""


class Compute(Stack):
    """Services, their scaling and alarms."""

    def __init__(
        self, scope: Construct, construct_id: str, *, network: Network, data: Data, config: Config, **options: object
    ) -> None:
        super().__init__(scope, construct_id, **options)  # type: ignore[arg-type]
        self._config = config
        self._network = network
        self._tasks = TaskFactory(self, vpc=network.vpc, redis_url=data.redis_url, config=config)
        self._cluster = ecs.Cluster(self, "Cluster", vpc=network.vpc)
        self._balancer = Balancer(self, "Front", network=network, config=config)
        alarms = Alarms(self, "Alarms", config.alarm_email)
        reasons = alarms.of_api(self._balancer.balancer, [self._balancer.blue, self._balancer.green])
        self._api(reasons)
        pool = self._voice()
        self._beat()
        alarms.of_pool(pool)
        alarms.of_redis([Fn.join("", [data.redis.ref, suffix]) for suffix in ("-001", "-002")])
        CfnOutput(self, "BalancerName", value=self._balancer.balancer.load_balancer_dns_name)
        CfnOutput(self, "ClusterName", value=self._cluster.cluster_name)

    def _api(self, reasons: list[cloudwatch.Alarm]) -> None:
        """Blue and green: the new tasks get the traffic when they are healthy, and lose it when an alarm goes off."""
        kind = self._tasks.api()
        service = self._service(
            kind,
            self._network.api_group,
            self._tasks.define(kind, self._log_group(kind)),
            deployment_strategy=ecs.DeploymentStrategy.BLUE_GREEN,
            bake_time=Duration.minutes(BAKE_MINUTES),
            deployment_alarms=ecs.DeploymentAlarmConfig(
                alarm_names=[alarm.alarm_name for alarm in reasons], behavior=ecs.AlarmBehavior.ROLLBACK_ON_ALARM
            ),
            health_check_grace_period=Duration.seconds(60),
        )
        target = service.load_balancer_target(
            container_name=kind.name,
            container_port=API_PORT,
            alternate_target=ecs.AlternateTarget(
                "Green",
                alternate_target_group=self._balancer.green,
                production_listener=ecs.ListenerRuleConfiguration.application_listener_rule(self._balancer.rule),
            ),
        )
        target.attach_to_application_target_group(self._balancer.blue)
        tasks = service.auto_scale_task_count(
            min_capacity=self._config.api_tasks, max_capacity=self._config.api_tasks * 4
        )
        tasks.scale_on_cpu_utilization("Cpu", target_utilization_percent=60)

    def _voice(self) -> PoolMetrics:
        """As many as the calls need. A task with a call is protected by its host, so fewer of them is never a cut."""
        kind, config = self._tasks.voice(), self._config
        log_group = self._log_group(kind)
        task = self._tasks.define(kind, log_group)
        may_protect_itself(task.task_role, self._cluster, self)
        service = self._service(kind, self._network.voice_group, task)
        pool = PoolMetrics(self, "Pool", log_group)
        tasks = service.auto_scale_task_count(
            min_capacity=config.voice_tasks_least, max_capacity=config.voice_tasks_most
        )
        tasks.scale_to_track_custom_metric(
            "Busy",
            metric=pool["BusyPercent"],
            target_value=config.busy_percent,
            scale_out_cooldown=Duration.seconds(60),
            scale_in_cooldown=Duration.seconds(300),
        )
        tasks.scale_on_metric(
            "NearlyFull",
            metric=pool["BusyPercent"],
            adjustment_type=scaling.AdjustmentType.PERCENT_CHANGE_IN_CAPACITY,
            min_adjustment_magnitude=1,
            # Target tracking waits for three minutes in a row; when it gets tight, one is enough.
            evaluation_periods=1,
            cooldown=Duration.seconds(60),
            scaling_steps=[
                scaling.ScalingInterval(upper=80, change=0),
                scaling.ScalingInterval(lower=80, change=25),
                scaling.ScalingInterval(lower=95, change=50),
            ],
        )
        return pool

    def _beat(self) -> None:
        """Two, of which one leads."""
        kind = self._tasks.beat()
        task = self._tasks.define(kind, self._log_group(kind))
        self._service(kind, self._network.beat_group, task, desired_count=2)

    def _log_group(self, kind: Kind) -> logs.LogGroup:
        """Named by CloudFormation, and left when the stack goes."""
        group = logs.LogGroup(self, f"{kind.name.capitalize()}Log", removal_policy=RemovalPolicy.RETAIN)
        retained = group.node.default_child
        assert isinstance(retained, logs.CfnLogGroup)  # noqa: S101 - CDK's own
        retained.retention_in_days = self._config.log_days
        return group

    def _service(
        self, kind: Kind, group: ec2.ISecurityGroup, task: ecs.FargateTaskDefinition, **options: object
    ) -> ecs.FargateService:
        """One that starts the new before it stops the old, and goes back when the new does not come up."""
        return ecs.FargateService(
            self,
            kind.name.capitalize(),
            cluster=self._cluster,
            task_definition=task,
            security_groups=[group],
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
            platform_version=ecs.FargatePlatformVersion.VERSION1_4,
            circuit_breaker=BREAKER,
            min_healthy_percent=100,
            max_healthy_percent=200,
            enable_ecs_managed_tags=True,
            propagate_tags=ecs.PropagatedTagSource.SERVICE,
            **options,  # type: ignore[arg-type]
        )
