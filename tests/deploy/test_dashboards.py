"""The dashboards' files are what ``deploy/grafana/build.py`` makes, and Grafana can find them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import yaml

from deploy.grafana.build import FOLDER, SOURCE, files
from tests.support.promql import panel_queries
from tests.support.servers import missing

PROVISIONING = FOLDER.parent / "provisioning"

KINDS = ("default", "sales")
APIS = ("a", "b")
GROWTH = {
    'voice_cost_usd_total{provider="groq"}': (0.06, 0.12),
    'voice_usage_total{provider="groq",unit="tokens"}': (100, 300),
    'voice_transcription_errors_total{provider="groq"}': (1, 2),
    "voice_barge_ins_total{}": (1, 9),
    "voice_silence_timeouts_total{}": (0.1, 0.2),
    "voice_cost_per_call_usd_sum{}": (1, 6),
    **{
        f"{name}_{part}": grown
        for name, labels in {
            "voice_latency_seconds": "",
            "voice_stt_duration_seconds": 'provider="groq"',
            "voice_llm_duration_seconds": 'provider="groq"',
            "voice_tts_duration_seconds": 'provider="groq"',
            "voice_session_duration_seconds": "",
            "voice_cost_per_call_usd": "",
        }.items()
        for part, grown in {
            f'bucket{{le="1",{labels}}}': (10, 0),
            f'bucket{{le="2",{labels}}}': (10, 30),
            f'bucket{{le="+Inf",{labels}}}': (10, 30),
            f"count{{{labels}}}": (10, 30),
        }.items()
    },
}
"""Of both kinds, in a minute: each of the first's calls takes one (second, dollar) at most, of the other's above."""
LEVELS = {
    "greenroom_agent_pool_ready{}": (3, 0),
    "greenroom_agent_pool_target{}": (3, 2),
    "greenroom_sessions_waiting{}": (0, 4),
}
TOGETHER = '{provider="groq"}'
DEFAULT, SALES = '{kind="default"}', '{kind="sales"}'
SHOWN = {
    "Greenroom: pool / Agents that wait, by kind / {{kind}} wait": {DEFAULT: 3, SALES: 0},
    "Greenroom: pool / Agents that wait, by kind / {{kind}} should wait": {DEFAULT: 3, SALES: 2},
    "Greenroom: pool / Sessions that wait for capacity, by kind / {{kind}}": {DEFAULT: 0, SALES: 4},
    "Greenroom: voice quality / Calls with a user / calls": {"{}": 7},
    "Greenroom: voice quality / From the user's last word to the answer's first sound / p50 {{kind}}": {
        DEFAULT: 0.5, SALES: 1.5,
    },
    "Greenroom: voice quality / From the user's last word to the answer's first sound / p95 {{kind}}": {
        DEFAULT: 0.95, SALES: 1.95,
    },
    # The 38th of forty: ten below one second, thirty in the next.
    "Greenroom: voice quality / Speech to text, p95 / {{provider}}": {TOGETHER: 1.933},
    "Greenroom: voice quality / Language model, p95 / {{provider}}": {TOGETHER: 1.933},
    "Greenroom: voice quality / Text to speech, p95 / {{provider}}": {TOGETHER: 1.933},
    "Greenroom: voice quality / Answers a minute / {{kind}}": {DEFAULT: 10, SALES: 30},
    "Greenroom: voice quality / Cut short by the user / {{kind}}": {DEFAULT: 0.1, SALES: 0.3},
    "Greenroom: voice quality / Errors of speech recognition / {{provider}}": {TOGETHER: 15},
    "Greenroom: voice quality / Calls that silence ended / {{kind}}": {DEFAULT: 6, SALES: 12},
    "Greenroom: voice quality / Length of a call / p50 {{kind}}": {DEFAULT: 0.5, SALES: 1.5},
    "Greenroom: voice quality / Length of a call / p95 {{kind}}": {DEFAULT: 0.95, SALES: 1.95},
    "Greenroom: cost / Cost of a call / mean {{kind}}": {DEFAULT: 0.1, SALES: 0.2},
    "Greenroom: cost / Cost of a call / p95 {{kind}}": {DEFAULT: 0.95, SALES: 1.95},
    "Greenroom: cost / Dollars an hour / {{provider}}": {TOGETHER: 10.8},
    "Greenroom: cost / Dollars in a day / all": {"{}": 259.2},
    "Greenroom: cost / Calls that ended in an hour / {{kind}}": {DEFAULT: 600, SALES: 1800},
    "Greenroom: cost / Units used / {{provider}} {{unit}}": {'{provider="groq", unit="tokens"}': 400},
}  # fmt: skip
"""What every panel of calls, and of pools by kind, shows of it."""


def test_the_files_are_what_the_code_makes() -> None:
    """Otherwise: ``python -m deploy.grafana.build``."""
    assert {path.name: path.read_text() for path in FOLDER.iterdir()} == files()


def test_every_query_is_in_a_panel_with_a_letter_of_its_own() -> None:
    seen = []
    for path in FOLDER.glob("*.json"):
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            letters = [target["refId"] for target in panel["targets"]]
            assert letters == list("ABCDEFGH"[: len(letters)]), panel["title"]
            assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}
            assert panel["description"]
            seen += [target["expr"] for target in panel["targets"]]
    assert sorted(seen) == sorted(panel_queries().values())


def test_panels_do_not_lie_on_each_other() -> None:
    for path in FOLDER.glob("*.json"):
        places = [tuple(panel["gridPos"][key] for key in "xy") for panel in json.loads(path.read_text())["panels"]]
        assert len(set(places)) == len(places), path.name


def test_grafana_is_told_of_its_source_and_of_the_folder() -> None:
    def read(name: str) -> dict[str, list[dict[str, object]]]:
        content: dict[str, list[dict[str, object]]] = yaml.safe_load((PROVISIONING / name).read_text())
        return content

    [source] = read("datasources/prometheus.yml")["datasources"]
    assert (source["uid"], source["type"]) == (SOURCE.uid, "prometheus")
    [provider] = read("dashboards/greenroom.yml")["providers"]
    assert provider["options"] == {"path": str(Path("/var/lib/grafana/dashboards"))}


def test_every_panel_of_calls_is_tried_with_two_kinds() -> None:
    asked = {place for place, expr in panel_queries().items() if "voice_" in expr or "by (kind) (greenroom_" in expr}
    assert asked - {"Greenroom: pool / Spawn breaker / {{kind}}"} == SHOWN.keys()


def test_two_kinds_of_agents_and_two_apis_are_counted_once_each(tmp_path: Path) -> None:
    """By Prometheus itself. Every API tells the same: the sum over them would be twice as much."""
    if shutil.which("promtool") is None:
        missing("promtool", "apt-get install prometheus")
    queries = panel_queries()
    test = {
        "interval": "1m",
        "input_series": [*_series(GROWTH, "0+{}x1500"), *_series(LEVELS, "{}x1500"), *_of_each_api()],
        "promql_expr_test": [
            # Rounded: what promtool compares has to be the same to the last bit.
            {
                "expr": f"round({queries[place]}, 0.001)",
                "eval_time": "25h",
                "exp_samples": [{"labels": labels, "value": value} for labels, value in shown.items()],
            }
            for place, shown in SHOWN.items()
        ],
    }
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _series(of_kinds: dict[str, tuple[float, float]], values: str) -> list[dict[str, str]]:
    return [
        {"series": series.replace("{", f'{{kind="{kind}",instance="{api}",'), "values": values.format(value)}
        for series, both in of_kinds.items()
        for kind, value in zip(KINDS, both, strict=True)
        for api in APIS
    ]


def _of_each_api() -> list[dict[str, str]]:
    return [{"series": f'voice_agent_active_sessions{{instance="{api}"}}', "values": "7x1500"} for api in APIS]
