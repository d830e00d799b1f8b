"""The dashboards' files are what ``deploy/grafana/build.py`` makes, and Grafana can find them."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from deploy.grafana.build import FOLDER, SOURCE, files
from tests.support.promql import panel_queries

PROVISIONING = FOLDER.parent / "provisioning"


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
