"""What is measured and what is alarmed about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

NAMESPACE = "Greenroom"
LINE = "pool"
"""The program's own line about the pool, once a minute, by whichever worker is given the task."""
FIELDS = {"BusyPercent": "busy_percent", "Ready": "ready", "Calls": "calls", "Capacity": "capacity", "Queued": "queued"}
"""Metric: the line's field."""

MINUTE = Duration.minutes(1)
FEW_REQUESTS = 20
"""A minute with fewer of them says nothing about the share of errors."""


class PoolMetrics(Construct):
    """Metrics made of the program's log line."""

    def __init__(self, scope: Construct, construct_id: str, log_group: logs.ILogGroup) -> None:
        super().__init__(scope, construct_id)
        self._metrics = {name: self._of(name, field, log_group) for name, field in FIELDS.items()}

    def _of(self, name: str, field: str, log_group: logs.ILogGroup) -> cloudwatch.Metric:
        found = logs.MetricFilter(
            self,
            name,
            log_group=log_group,
            filter_pattern=logs.FilterPattern.string_value("$.event", "=", LINE),
            metric_namespace=NAMESPACE,
            metric_name=name,
            metric_value=f"$.{field}",
        )
        return found.metric(statistic="Maximum", period=MINUTE)

    def __getitem__(self, name: str) -> cloudwatch.Metric:
        return self._metrics[name]


class Alarms(Construct):
    """Alarms, and who is told."""

    def __init__(self, scope: Construct, construct_id: str, email: str) -> None:
        super().__init__(scope, construct_id)
        self._topic = sns.Topic(self, "Topic", display_name="Greenroom", enforce_ssl=True)
        if email:
            self._topic.add_subscription(subscriptions.EmailSubscription(email))

    def add(
        self,
        name: str,
        metric: cloudwatch.IMetric,
        above: float,
        why: str,
        *,
        minutes: int = 3,
        below: bool = False,
        missing_is_bad: bool = False,
    ) -> cloudwatch.Alarm:
        """An alarm that goes off when the metric is above (or below) this for so many minutes in a row."""
        compare, treat = cloudwatch.ComparisonOperator, cloudwatch.TreatMissingData
        alarm = cloudwatch.Alarm(
            self,
            name,
            metric=metric,
            threshold=above,
            evaluation_periods=minutes,
            comparison_operator=compare.LESS_THAN_THRESHOLD if below else compare.GREATER_THAN_THRESHOLD,
            treat_missing_data=treat.BREACHING if missing_is_bad else treat.NOT_BREACHING,
            alarm_description=why,
        )
        alarm.add_alarm_action(actions.SnsAction(self._topic))
        alarm.add_ok_action(actions.SnsAction(self._topic))
        return alarm

    def of_api(
        self, balancer: elbv2.ApplicationLoadBalancer, groups: Sequence[elbv2.ApplicationTargetGroup]
    ) -> list[cloudwatch.Alarm]:
        """Of the API; returns those for which a deployment is rolled back."""
        codes, metrics = elbv2.HttpCodeTarget, balancer.metrics
        share = _expression(
            f"IF(requests > {FEW_REQUESTS}, 100 * FILL(errors, 0) / requests, 0)",
            requests=metrics.request_count(statistic="Sum", period=MINUTE),
            errors=metrics.http_code_target(codes.TARGET_5XX_COUNT, statistic="Sum", period=MINUTE),
        )
        unhealthy = _expression("blue + green", **{
            name: group.metrics.unhealthy_host_count(statistic="Maximum", period=MINUTE)
            for name, group in zip(("blue", "green"), groups, strict=True)
        })  # fmt: skip
        latency = metrics.target_response_time(statistic="p99", period=MINUTE)
        own = metrics.http_code_elb(elbv2.HttpCodeElb.ELB_5XX_COUNT, statistic="Sum", period=MINUTE)
        self.add("UnhealthyApi", unhealthy, 0, "An API task does not answer", minutes=5)
        return [
            self.add("ApiErrors", share, 5, "More than 5 % of the requests end with a 5xx"),
            self.add("BalancerErrors", own, 5, "The load balancer finds no API that answers"),
            self.add("ApiLatency", latency, 0.5, "The slowest 1 % of the requests take above 0.5 s"),
        ]

    def of_redis(self, node_ids: Sequence[str]) -> None:
        """Of Redis's nodes: full, or losing what it must not lose."""
        for name, metric, above, why in (
            ("RedisMemory", "DatabaseMemoryUsagePercentage", 75, "Redis is nearly full; it then refuses to write"),
            ("RedisEvictions", "Evictions", 0, "Redis forgets sessions: its parameter group is not ours"),
        ):
            nodes = {f"m{number}": _of_redis(metric, node) for number, node in enumerate(node_ids)}
            self.add(name, _expression(f"MAX([{', '.join(nodes)}])", **nodes), above, why)

    def of_pool(self, pool: PoolMetrics) -> None:
        """Of what callers wait for."""
        why = "No agent waits, or nobody says so: hosts, workers or beat are gone"
        self.add("NoReadyAgent", pool["Ready"], 1, why, minutes=5, below=True, missing_is_bad=True)
        self.add("NearlyFull", pool["BusyPercent"], 80, "More than 80 % of the capacity is in calls")


def _of_redis(metric: str, node: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="AWS/ElastiCache",
        metric_name=metric,
        dimensions_map={"CacheClusterId": node},
        statistic="Maximum",
        period=MINUTE,
    )


def _expression(expression: str, **metrics: cloudwatch.IMetric) -> cloudwatch.MathExpression:
    used: Mapping[str, cloudwatch.IMetric] = metrics
    return cloudwatch.MathExpression(expression=expression, using_metrics=used, period=MINUTE)
