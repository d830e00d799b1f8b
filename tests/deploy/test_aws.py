"""What the CDK program says is to be on AWS, synthesised by ``cdk synth``, against the program's own settings."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from deploy.aws.config import Config, ConfigError, context_names
from deploy.aws.tasks import CALLERS_NAMES, LIVEKIT_NAMES, PROVIDERS_NAMES
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.api import health
from orchestrator.cli.deploy_platforms import AWS_DEFAULTS, AWS_SECRETS, AWS_SETS, Platform
from orchestrator.cli.environment import read_dotenv
from orchestrator.cli.serve import Program
from orchestrator.domain.demand import DemandPolicy
from orchestrator.services.pool import KeepPool, ReapAges
from orchestrator.settings import SECRETS, Settings
from tests.deploy.doctor import complaints
from tests.deploy.routes import is_page, routes
from tests.deploy.settings_names import OF_COMMANDS, known_variables
from tests.support.cdk import synth
from tests.support.fakes import FakeTaskQueue, fake_client
from tests.support.records import LIMITS, beat

TOP = Path(__file__).parents[2]
ACCOUNT = "arn:aws:{}:eu-central-1:111122223333:{}"
SECRET = {name: ACCOUNT.format("secretsmanager", f"secret:greenroom/{name}-AbCdEf") for name in ("l", "c", "p")}
NO_SECRETS = {"JWT_JWKS_URL", "JWT_AUDIENCE", "JWT_ISSUER", "JWT_TENANT_CLAIM", "ECS_AGENT_URI"}
"""The orchestrator's own, and yet anybody may read them."""
OF_THE_AGENT = {"OPENAI_API_KEY"}
"""Read by an agent that is not ours."""
CDK_JSON: dict[str, Any] = json.loads((TOP / "deploy" / "aws" / "cdk.json").read_text())
SHIPPED: dict[str, Any] = CDK_JSON["context"]
CONTEXT = SHIPPED | {
    "certificateArn": ACCOUNT.format("acm", "certificate/0f"),
    "secretLiveKit": SECRET["l"],
    "secretCallers": SECRET["c"],
    "secretProviders": SECRET["p"],
    "livekitUrl": "wss://my-project.livekit.cloud",
    "callersSecrets": ["JWT_SECRET", "OTEL_EXPORTER_OTLP_HEADERS"],
    "providersSecrets": ["OPENAI_API_KEY", "OTEL_EXPORTER_OTLP_HEADERS"],
    "settings": {
        "ALLOWED_ORIGINS": "https://app.example.com",
        "AGENT": "agent.assistant:assistant",
        "AGENT_ENV": "OPENAI_MODEL",
        "MAX_CALL_S": 5400,
    },
    "tracesEndpoint": "http://collector.internal:4318",
    "alarmEmail": "operator@example.com",
}

pytestmark = pytest.mark.timeout(300)  # jsii alone takes seconds, on a busy machine many


@dataclass(frozen=True)
class Templates:
    """What CloudFormation would be given."""

    files: list[Path]
    stacks: dict[str, dict[str, Any]]

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """The properties of every resource of a kind, by its name."""
        return {
            name: resource["Properties"]
            for stack in self.stacks.values()
            for name, resource in stack["Resources"].items()
            if resource["Type"] == f"AWS::{kind}"
        }

    def one(self, kind: str, start: str = "") -> dict[str, Any]:
        (found,) = [properties for name, properties in self.of(kind).items() if name.startswith(start)]
        return found

    def containers(self) -> dict[str, dict[str, Any]]:
        tasks = self.of("ECS::TaskDefinition").values()
        return {container["Name"]: container for task in tasks for container in task["ContainerDefinitions"]}

    def policies_of(self, role: str) -> list[dict[str, Any]]:
        """The statements of the policies that hang on a role, by the beginning of its name."""
        return [
            statement
            for policy in self.of("IAM::Policy").values()
            if any(each["Ref"].startswith(role) for each in policy["Roles"])
            for statement in policy["PolicyDocument"]["Statement"]
        ]


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """With the command of ``cdk.json``, but for this Python, and what an operator would say besides."""
    folder = tmp_path_factory.mktemp("cdk")
    python = "../../.venv/bin/python"
    assert python in CDK_JSON["app"]
    ours = {name: value for name, value in CONTEXT.items() if value != SHIPPED.get(name)}
    said = synth(folder / "out", ours, CDK_JSON["app"].replace(python, sys.executable), folder)
    assert "Warning" not in said, said
    files = sorted((folder / "out").glob("*.template.json"))
    return Templates(files, {path.name.split(".")[0]: json.loads(path.read_text()) for path in files})


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_cloudformation_would_take_it(templates: Templates) -> None:
    """W3005: CDK says of two resources what a reference says already."""
    assert list(templates.stacks) == ["greenroom-compute", "greenroom-data", "greenroom-network"]
    argv = [str(Path(sys.executable).parent / "cfn-lint"), "--ignore-checks", "W3005", "--", *map(str, templates.files)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# --- our own settings ----------------------------------------------------------------------------------


def test_every_variable_is_a_setting_of_ours(templates: Templates) -> None:
    for name, container in templates.containers().items():
        given = {each["Name"] for each in [*container["Environment"], *container["Secrets"]]}
        assert given - known_variables() - OF_THE_AGENT == set(), name


def test_the_programs_take_their_settings(templates: Templates) -> None:
    for container in templates.containers().values():
        given = {each["Name"]: each["Value"] for each in container["Environment"]}
        given["TRUSTED_PROXIES"] = "10.0.0.0/16"  # the network's own, which only CloudFormation knows
        secrets = {"REDIS_URL": "rediss://:x@r:6379/0", "LIVEKIT_API_KEY": "k", "LIVEKIT_API_SECRET": "s" * 32}
        missing = {name for name in secrets if name not in {each["Name"] for each in container["Secrets"]}}
        assert missing == set()
        settings = Settings.model_validate({name.lower(): value for name, value in (given | secrets).items()})
        assert settings.log_format == "json", "metrics are made of the log"
        assert settings.drain_on_term is (container["Name"] == "voice")


def test_doctor_finds_nothing_to_mend_in_it(templates: Templates) -> None:
    """But that Fargate kills a task after two minutes: what keeps that from one with a call is no variable."""
    wanted = {"api": {}, "voice": {"stopTimeout": "warn"}, "beat": {}}
    for name, container in templates.containers().items():
        given = {each["Name"]: each["Value"] for each in container["Environment"]}
        given |= {each["Name"]: "x" * 32 for each in container["Secrets"]}
        known = {"REDIS_URL": AWS_SETS["REDIS_URL"], "TRUSTED_PROXIES": AWS_SETS["TRUSTED_PROXIES"]}
        given |= {each: value for each, value in known.items() if each in given}
        program = Program.HOST if name == "voice" else Program(name)
        assert complaints(Platform.AWS, program, given) == wanted[name], name


def test_doctor_knows_what_tasks_take_from_secrets_manager() -> None:
    assert {*AWS_SECRETS} == {*LIVEKIT_NAMES, *CALLERS_NAMES, *PROVIDERS_NAMES}


def test_doctor_knows_what_tasks_are_told(templates: Templates) -> None:
    """Of what only CloudFormation knows, the network and Redis's address, other tests."""
    environments = [each["Environment"] for each in templates.containers().values()]
    given = {each["Name"]: each["Value"] for environment in environments for each in environment}
    for name, form in (AWS_SETS | AWS_DEFAULTS).items():
        if name == "TRUSTED_PROXIES":
            assert "CidrBlock" in json.dumps(given[name])
            assert templates.one("EC2::VPC")["CidrBlock"] == form
        elif name != "REDIS_URL":
            assert given[name] == form.format_map(given), name


def test_the_commands_are_programs_of_ours(templates: Templates) -> None:
    ours = set(re.findall(r"^\[program:(\w+)\]", (TOP / "supervisord.conf").read_text(), re.MULTILINE))
    commands = {name: container["Command"] for name, container in templates.containers().items()}
    assert commands == {"api": ["api"], "voice": ["host", "worker"], "beat": ["beat"]}
    assert {program for command in commands.values() for program in command} == ours


def test_the_health_check_is_one_that_the_api_answers(templates: Templates) -> None:
    paths = {getattr(route, "path", None) for route in health.router.routes}
    groups = templates.of("ElasticLoadBalancingV2::TargetGroup").values()
    assert len(groups) == 2
    assert {group["HealthCheckPath"] for group in groups} == {"/health/live"} <= paths
    port = int(next(e["Value"] for e in templates.containers()["api"]["Environment"] if e["Name"] == "PORT"))
    assert {group["Port"] for group in groups} == {port}


async def test_metrics_are_made_of_a_line_that_the_program_writes(templates: Templates) -> None:
    client = fake_client()
    store, hosts = RedisStore(client), RedisHosts(client)
    await beat(hosts)
    ages = ReapAges(60, 60, 60, 60)
    pool = KeepPool(store, hosts, FakeTaskQueue(), LIMITS, ages, default_target=3, demand=DemandPolicy(0))
    with capture_logs() as lines:
        await pool.check_hosts()
    await client.aclose()
    filters = templates.of("Logs::MetricFilter").values()
    names = {each["MetricTransformations"][0]["MetricName"] for each in filters}
    assert names == {"BusyPercent", "Ready", "Calls", "Capacity", "Queued"}
    for each in filters:
        assert each["LogGroupName"]["Ref"].startswith("VoiceLog"), "workers are there"
        (event,) = re.fullmatch(r'\{ \$\.event = "(\w+)" \}', each["FilterPattern"]).groups()  # type: ignore[union-attr]
        (line,) = [line for line in lines if line["event"] == event]
        assert isinstance(line[each["MetricTransformations"][0]["MetricValue"].removeprefix("$.")], int | float)


# --- Redis ---------------------------------------------------------------------------------------------


def test_redis_loses_nothing_and_speaks_tls(templates: Templates) -> None:
    redis = templates.one("ElastiCache::ReplicationGroup")
    assert redis["MultiAZEnabled"]
    assert redis["AutomaticFailoverEnabled"]
    assert redis["NumCacheClusters"] == 2
    assert redis["TransitEncryptionEnabled"]
    assert redis["AtRestEncryptionEnabled"]
    assert redis["SnapshotRetentionLimit"] >= 7
    parameters = templates.one("ElastiCache::ParameterGroup")
    assert parameters["Properties"]["maxmemory-policy"] == "noeviction"


def test_redis_is_reached_by_a_secret(templates: Templates) -> None:
    password = templates.one("ElastiCache::ReplicationGroup")["AuthToken"]["Fn::Join"][1]
    assert password[0] == "{{resolve:secretsmanager:"
    form = templates.one("SecretsManager::Secret", "RedisUrl")["SecretString"]["Fn::Join"][1]
    address = "".join(part if isinstance(part, str) else "x" for part in form)
    assert re.fullmatch(r"rediss://:\{\{resolve:secretsmanager:x:SecretString:::\}\}@x:6379/0", address)
    generated = templates.one("SecretsManager::Secret", "RedisPassword")["GenerateSecretString"]
    assert generated["ExcludePunctuation"], "it is a part of an address"
    assert 16 <= generated["PasswordLength"] <= 128


# --- who may what --------------------------------------------------------------------------------------


def test_secrets_are_only_referred_to(templates: Templates) -> None:
    keys = {"ASSEMBLY_API_KEY", "GROQ_API_KEY", "INWORLD_API_KEY", "OPENAI_API_KEY", "OTEL_EXPORTER_OTLP_HEADERS"}
    secret = (SECRETS - NO_SECRETS) | keys
    for container in templates.containers().values():
        assert not secret & {each["Name"] for each in container["Environment"]}
        for each in container["Secrets"]:
            source = each["ValueFrom"]
            if each["Name"] == "REDIS_URL":
                assert source["Fn::ImportValue"].startswith("greenroom-data:")
            else:
                assert re.fullmatch(rf"arn:aws:secretsmanager:\S+-AbCdEf:{each['Name']}::", source)


def test_each_program_is_given_only_what_it_needs(templates: Templates) -> None:
    given = {name: {s["Name"] for s in container["Secrets"]} for name, container in templates.containers().items()}
    livekit = {"REDIS_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"}
    assert given == {
        "api": livekit | {"ADMIN_TOKEN", "API_KEYS", *CONTEXT["callersSecrets"]},
        "voice": livekit | {"ASSEMBLY_API_KEY", "GROQ_API_KEY", "INWORLD_API_KEY", *CONTEXT["providersSecrets"]},
        "beat": livekit,
    }
    for kind, arns in {"Api": {"l", "c"}, "Voice": {"l", "p"}, "Beat": {"l"}}.items():
        read = [
            resource
            for statement in templates.policies_of(f"{kind}TaskExecutionRole")
            if "secretsmanager:GetSecretValue" in _listed(statement["Action"])
            for resource in _listed(statement["Resource"])
        ]
        assert {each for each in read if isinstance(each, str)} == {SECRET[name] for name in arns}
        (redis_url,) = [each for each in read if not isinstance(each, str)]
        assert redis_url["Fn::ImportValue"].startswith("greenroom-data:ExportsOutputRefRedisUrl")


def test_agents_are_given_their_own_keys(templates: Templates) -> None:
    containers = templates.containers()
    given = {each["Name"]: each["Value"] for each in containers["voice"]["Environment"]}
    assert given["AGENT_ENV"].split(",") == ["OPENAI_MODEL", *CONTEXT["providersSecrets"]]


def test_no_role_may_more_than_it_needs(templates: Templates) -> None:
    statements = [s for p in templates.of("IAM::Policy").values() for s in p["PolicyDocument"]["Statement"]]
    for statement in statements:
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in _listed(statement["Action"]))
        if "*" in _listed(statement["Resource"]):
            assert statement["Action"] == "ecr:GetAuthorizationToken", "which AWS grants for all or not at all"
    managed = [str(arn) for role in templates.of("IAM::Role").values() for arn in role.get("ManagedPolicyArns", [])]
    assert len(managed) == 1
    assert "AmazonECSInfrastructureRolePolicyForLoadBalancers" in managed[0], "which moves the API's traffic"


def test_only_voice_tasks_may_anything_and_that_is_to_protect_themselves(templates: Templates) -> None:
    assert templates.policies_of("ApiTaskTaskRole") == templates.policies_of("BeatTaskTaskRole") == []
    (statement,) = templates.policies_of("VoiceTaskTaskRole")
    assert sorted(statement["Action"]) == ["ecs:GetTaskProtection", "ecs:UpdateTaskProtection"]
    *start, cluster, end = statement["Resource"]["Fn::Join"][1]
    assert (start[-1], end) == (":task/", "/*")
    assert cluster["Ref"].startswith("Cluster")


# --- the network ---------------------------------------------------------------------------------------


def test_only_the_load_balancer_is_open(templates: Templates) -> None:
    groups = templates.of("EC2::SecurityGroup")
    open_ports = {
        (name.rstrip("0123456789ABCDEF"), rule["FromPort"])
        for name, group in groups.items()
        for rule in group.get("SecurityGroupIngress", [])
    }
    assert open_ports == {("Balancer", 443), ("Balancer", 80)}
    inner = {
        (rule["GroupId"]["Fn::GetAtt"][0][:5], rule["SourceSecurityGroupId"]["Fn::GetAtt"][0][:5], rule["ToPort"])
        for rule in templates.of("EC2::SecurityGroupIngress").values()
    }
    tasks = ("ApiF7", "Voice", "BeatA")
    assert {(to, port) for to, _, port in inner} == {("ApiF7", 8080), ("Redis", 6379), ("Endpo", 443)}
    assert {source for to, source, _ in inner if to == "Redis"} == set(tasks)
    assert {source for to, source, _ in inner if to == "ApiF7"} == {"Balan"}


def test_nothing_leaves_but_by_what_is_named(templates: Templates) -> None:
    for group in templates.of("EC2::SecurityGroup").values():
        assert all(rule["IpProtocol"] != "-1" for rule in group.get("SecurityGroupEgress", []))


def test_traces_reach_the_collector(templates: Templates) -> None:
    ports = {
        name.rstrip("0123456789ABCDEF"): {each["FromPort"] for each in group.get("SecurityGroupEgress", [])}
        for name, group in templates.of("EC2::SecurityGroup").items()
    }
    told = {
        name
        for name, container in templates.containers().items()
        for each in container["Environment"]
        if (each["Name"], each["Value"]) == ("OTEL_EXPORTER_OTLP_ENDPOINT", CONTEXT["tracesEndpoint"])
    }
    assert told == {"api", "voice"}, "beat has none"
    assert {name for name, opened in ports.items() if 4318 in opened} == {"Api", "Voice"}


def test_tasks_have_no_public_address(templates: Templates) -> None:
    for service in templates.of("ECS::Service").values():
        place = service["NetworkConfiguration"]["AwsvpcConfiguration"]
        assert place["AssignPublicIp"] == "DISABLED"
        assert all("tasksSubnet" in subnet["Fn::ImportValue"] for subnet in place["Subnets"])


def test_users_reach_the_pages_and_the_api_alone(templates: Templates) -> None:
    """As on Kubernetes' Ingress. One rule, for ECS moves one from the old tasks to the new."""
    (rule,) = templates.of("ElasticLoadBalancingV2::ListenerRule").values()
    (condition,) = rule["Conditions"]
    patterns = condition["PathPatternConfig"]["Values"]
    assert len(patterns) <= 5, "more is refused"
    assert all(is_page(path) for path in patterns if "*" not in path)

    def passes(path: str) -> bool:
        return any(fnmatchcase(path, pattern) for pattern in patterns)

    assert {path for path in routes() if passes(path)} == {path for path in routes() if path.startswith("/api/")}
    assert passes("/assets/index-0f.js")
    inside = ["/metrics", "/health/live", "/health/ready"]
    assert set(inside) <= routes()
    spelled = [f"%{ord(path[1]):02X}{path[2:]}" for path in inside]
    assert not any(passes(path) for path in [*inside, *(f"/{each}" for each in spelled), "//metrics", "/metrics/"])
    (other,) = next(
        each["DefaultActions"]
        for each in templates.of("ElasticLoadBalancingV2::Listener").values()
        if each["Port"] == 443
    )
    assert (other["Type"], other["FixedResponseConfig"]["StatusCode"]) == ("fixed-response", "404")


def test_callers_speak_tls(templates: Templates) -> None:
    listeners = {each["Port"]: each for each in templates.of("ElasticLoadBalancingV2::Listener").values()}
    assert set(listeners) == {80, 443}
    assert listeners[443]["Protocol"] == "HTTPS"
    assert listeners[443]["Certificates"] == [{"CertificateArn": CONTEXT["certificateArn"]}]
    assert "TLS13" in listeners[443]["SslPolicy"]
    (sent_on,) = listeners[80]["DefaultActions"]
    assert (sent_on["Type"], sent_on["RedirectConfig"]["Protocol"]) == ("redirect", "HTTPS")


# --- calls, deployments, scaling -----------------------------------------------------------------------


def test_tasks_are_given_time_to_stop(templates: Templates) -> None:
    stop_s = {name: container["StopTimeout"] for name, container in templates.containers().items()}
    assert stop_s == {"api": 30, "voice": 120, "beat": 30}
    for group in templates.of("ElasticLoadBalancingV2::TargetGroup").values():
        attributes = {each["Key"]: each["Value"] for each in group["TargetGroupAttributes"]}
        assert attributes["deregistration_delay.timeout_seconds"] == "60"


def test_an_operators_drain_lets_the_longest_call_end(templates: Templates) -> None:
    given = {each["Name"]: each["Value"] for each in templates.containers()["voice"]["Environment"]}
    assert given["DRAIN_TIMEOUT_S"] == given["MAX_CALL_S"] == "5400"


def test_every_service_goes_back_when_its_new_tasks_do_not_come_up(templates: Templates) -> None:
    for service in templates.of("ECS::Service").values():
        deployment = service["DeploymentConfiguration"]
        assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
        assert (deployment["MinimumHealthyPercent"], deployment["MaximumPercent"]) == (100, 200)


def test_the_api_is_blue_and_green_and_an_alarm_goes_back(templates: Templates) -> None:
    service = templates.one("ECS::Service", "Api")
    deployment = service["DeploymentConfiguration"]
    assert deployment["Strategy"] == "BLUE_GREEN"
    assert deployment["BakeTimeInMinutes"] == 10
    assert (deployment["Alarms"]["Enable"], deployment["Alarms"]["Rollback"]) == (True, True)
    reasons = {re.sub(r"\w{8}$", "", each["Ref"]) for each in deployment["Alarms"]["AlarmNames"]}
    assert reasons == {"AlarmsApiErrors", "AlarmsBalancerErrors", "AlarmsApiLatency"}
    (front,) = service["LoadBalancers"]
    groups = {front["TargetGroupArn"]["Ref"], front["AdvancedConfiguration"]["AlternateTargetGroupArn"]["Ref"]}
    assert groups == set(templates.of("ElasticLoadBalancingV2::TargetGroup"))
    assert front["AdvancedConfiguration"]["ProductionListenerRule"]["Ref"] in templates.of(
        "ElasticLoadBalancingV2::ListenerRule"
    )


def test_voice_follows_the_calls(templates: Templates) -> None:
    policies = templates.of("ApplicationAutoScaling::ScalingPolicy")
    tracking = [each.get("TargetTrackingScalingPolicyConfiguration", {}) for each in policies.values()]
    (busy,) = [each for each in tracking if "CustomizedMetricSpecification" in each]
    assert busy["CustomizedMetricSpecification"] == {
        "MetricName": "BusyPercent", "Namespace": "Greenroom", "Statistic": "Maximum"
    }  # fmt: skip
    assert (busy["ScaleOutCooldown"], busy["ScaleInCooldown"]) == (60, 300)
    steps = [each for each in policies.values() if each["PolicyType"] == "StepScaling"]
    assert len(steps) == 1
    adjustments = steps[0]["StepScalingPolicyConfiguration"]["StepAdjustments"]
    assert all(step["ScalingAdjustment"] > 0 for step in adjustments), "up only: down is target tracking's"


def test_two_beats_and_two_of_each_other(templates: Templates) -> None:
    assert templates.one("ECS::Service", "Beat")["DesiredCount"] == 2
    least = [each["MinCapacity"] for each in templates.of("ApplicationAutoScaling::ScalableTarget").values()]
    assert least == [2, 2]


def test_what_is_alarmed_about(templates: Templates) -> None:
    alarms = templates.of("CloudWatch::Alarm")
    ours = {re.sub(r"\w{8}$", "", n): each for n, each in alarms.items() if n.startswith("Alarms")}
    assert set(ours) == {
        "AlarmsApiErrors", "AlarmsBalancerErrors", "AlarmsApiLatency", "AlarmsUnhealthyApi", "AlarmsRedisMemory",
        "AlarmsRedisEvictions", "AlarmsNoReadyAgent", "AlarmsNearlyFull",
    }  # fmt: skip
    (topic,) = templates.of("SNS::Topic")
    assert all(each["AlarmActions"] == [{"Ref": topic}] for each in ours.values())
    assert ours["AlarmsNoReadyAgent"]["TreatMissingData"] == "breaching", "a beat that stopped says nothing"
    assert ours["AlarmsApiLatency"]["ExtendedStatistic"] == "p99"
    assert templates.one("SNS::Subscription")["Endpoint"] == CONTEXT["alarmEmail"]


def test_logs_are_kept_for_as_long_as_was_said(templates: Templates) -> None:
    assert {each["RetentionInDays"] for each in templates.of("Logs::LogGroup").values()} == {30}


# --- the context ---------------------------------------------------------------------------------------


def test_the_context_is_read() -> None:
    by_c = {"maxBots": "120", "settings": '{"WARM_MAX_AGE_S": 600}', "callersSecrets": "A_KEY,B_KEY"}
    config = Config.of((CONTEXT | by_c).get)
    assert config.max_bots == 120
    assert config.settings == {"WARM_MAX_AGE_S": "600"}
    assert config.callers_secrets == ("A_KEY", "B_KEY")
    assert config.repository == "greenroom-orchestrator"


def test_what_is_shipped_asks_for_the_rest() -> None:
    assert {name for name in SHIPPED if not name.startswith("@")} <= context_names()
    with pytest.raises(ConfigError, match="certificateArn, secretLiveKit, secretCallers, secretProviders, livekitUrl"):
        Config.of(SHIPPED.get)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"certificateArn": ""}, "missing in the context: certificateArn"),
        ({"voiceCpus": 3}, "voiceCpus should be one of"),
        ({"voiceMemoryGib": 2}, "voiceMemoryGib should be 8 to 30"),
        ({"voiceTasksLeast": 9}, "at most voiceTasksMost"),
        ({"maxBots": "many"}, "maxBots should be a number"),
        ({"settings": "{"}, "settings should be JSON"),
        ({"settings": {"max bots": 1}}, "should be a setting's name"),
        ({"settings": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}}, "is tracesEndpoint"),
        ({"settings": {"MAX_CALLS": "3"}}, "settings: MAX_CALLS is no setting"),
        ({"settings": {"OPENAI_MODEL": "gpt"}}, "OPENAI_MODEL is no setting"),
        ({"settings": {"GREENROOM_URL": "http://x"}}, "settings: GREENROOM_URL is no setting"),
        ({"settings": {"MAX_CALL_S": "abc"}}, "settings: MAX_CALL_S: Input should be a valid number"),
        ({"settings": {"GROQ_BASE_URL": "groq"}}, "settings: GROQ_BASE_URL should be"),
        ({"settings": {"POOL_CAP": 201}}, "POOL_CAP should be at most MAX_BOTS (200)"),
        ({"settings": {"JWT_AUDIENCE": "shop"}, "callersSecrets": []}, "need JWT_SECRET"),
        ({"prewarmPoolSize": 201}, "PREWARM_POOL_SIZE should be at most MAX_BOTS (200)"),
        ({"livekitUrl": "my-project"}, "LIVEKIT_URL: should be an address"),
        ({"tracesEndpoint": "collector:4318"}, "tracesEndpoint should be an address"),
        ({"tracesEndpoint": "http://collector:otlp"}, "tracesEndpoint should be an address"),
        ({"callersSecrets": ["jwt secret"]}, "callersSecrets: jwt secret should be"),
        ({"providersSecrets": ["JWT_SECRET"]}, "providersSecrets: JWT_SECRET is for no agent"),
    ],
)
def test_a_wrong_context_is_said_in_words(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        Config.of((CONTEXT | wrong).get)


@pytest.mark.parametrize(
    "name", sorted((SECRETS - NO_SECRETS) | {"OPENAI_API_KEY", "STRIPE_SECRET", "OTEL_EXPORTER_OTLP_HEADERS"})
)
def test_a_secret_is_no_setting(name: str) -> None:
    """It would stand in the task definitions, for whoever may describe them."""
    with pytest.raises(ConfigError, match=f"settings: {name} is a secret.*callersSecrets.*providersSecrets"):
        Config.of((CONTEXT | {"settings": {name: "x"}}).get)


def test_every_other_setting_is_one() -> None:
    elsewhere = {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "RAILWAY_REPLICA_ID"}
    secret = (SECRETS - NO_SECRETS) | {"ASSEMBLY_API_KEY", "GROQ_API_KEY", "INWORLD_API_KEY"} | elsewhere
    defaults = read_dotenv(TOP / ".env.example")
    settings = {name: defaults.get(name, "x") for name in known_variables() - secret - OF_COMMANDS}
    assert Config.of((CONTEXT | {"settings": settings}).get).settings == settings


@pytest.mark.parametrize(
    "settings",
    [
        {"AGENT_ENV": "OPENAI_*, TOPIC", "OPENAI_MODEL": "gpt", "TOPIC": "shoes"},
        {"HTTPS_PROXY": "http://proxy:3128", "OTEL_SERVICE_NAME": "voice"},
        {"AGENTS_FILE": "/app/agents.toml", "AGENT_FILTER": "sales"},
        {"JWT_AUDIENCE": "shop"},
    ],
)
def test_what_somebody_reads_is_a_setting_too(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_BOTS", "of this machine")
    assert Config.of((CONTEXT | {"settings": settings}).get).settings == settings


def test_a_collector_at_tls_needs_no_port_of_its_own() -> None:
    """443 is open already, and EC2 takes no rule twice."""
    for endpoint, port in {"https://collector": 443, "http://collector": 80, "http://c:4318/x": 4318, "": None}.items():
        assert Config.of((CONTEXT | {"tracesEndpoint": endpoint}).get).traces_port == port
