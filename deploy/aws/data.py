"""Redis, the only truth, and the address under which the programs reach it."""

from __future__ import annotations

from aws_cdk import Fn, RemovalPolicy, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticache as elasticache
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from deploy.aws.config import Config
from deploy.aws.network import REDIS_PORT, Network

VERSION = "7.1"


class Data(Stack):
    """One primary and one replica in two zones, by TLS and a password; nothing is evicted."""

    def __init__(
        self, scope: Construct, construct_id: str, *, network: Network, config: Config, **options: object
    ) -> None:
        super().__init__(scope, construct_id, **options)  # type: ignore[arg-type]
        self._password = secretsmanager.Secret(
            self,
            "RedisPassword",
            description="Greenroom: Redis's password",
            # Letters and digits: it becomes a part of an address.
            generate_secret_string=secretsmanager.SecretStringGenerator(exclude_punctuation=True, password_length=64),
        )
        self.redis = self._redis(network, config)
        self.redis_url = self._address()

    def _redis(self, network: Network, config: Config) -> elasticache.CfnReplicationGroup:
        subnets = network.vpc.select_subnets(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED).subnet_ids
        place = elasticache.CfnSubnetGroup(self, "Subnets", description="Greenroom: Redis", subnet_ids=subnets)
        parameters = elasticache.CfnParameterGroup(
            self,
            "Parameters",
            cache_parameter_group_family="redis7",
            description="Greenroom: Redis is no cache",
            properties={"maxmemory-policy": "noeviction", "timeout": "0"},
        )
        redis = elasticache.CfnReplicationGroup(
            self,
            "Redis",
            replication_group_description="Greenroom: sessions, the pool, hosts, the task queue",
            engine="redis",
            engine_version=VERSION,
            cache_node_type=config.redis_node,
            num_cache_clusters=2,
            automatic_failover_enabled=True,
            multi_az_enabled=True,
            transit_encryption_enabled=True,
            at_rest_encryption_enabled=True,
            auth_token=self._password.secret_value.unsafe_unwrap(),  # a reference, which CloudFormation resolves
            port=REDIS_PORT,
            cache_subnet_group_name=place.ref,
            cache_parameter_group_name=parameters.ref,
            security_group_ids=[network.redis_group.security_group_id],
            snapshot_name=config.redis_snapshot or None,
            snapshot_retention_limit=7,
            snapshot_window="03:00-04:00",
            preferred_maintenance_window="sun:04:30-sun:05:30",
            auto_minor_version_upgrade=True,
        )
        redis.apply_removal_policy(RemovalPolicy.SNAPSHOT)
        return redis

    def _address(self) -> secretsmanager.Secret:
        """REDIS_URL has the password in it, so it is a secret of its own: tasks take a whole variable from one."""
        password = self._password.secret_value.unsafe_unwrap()
        where = f"{self.redis.attr_primary_end_point_address}:{REDIS_PORT}/0"
        value = Fn.join("", ["rediss://:", password, "@", where])
        secret = secretsmanager.CfnSecret(self, "RedisUrl", description="Greenroom: REDIS_URL", secret_string=value)
        return secretsmanager.Secret.from_secret_complete_arn(self, "RedisUrlByArn", secret.ref)  # type: ignore[return-value]
