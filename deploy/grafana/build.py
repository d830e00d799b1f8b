"""Makes the dashboards: ``python -m deploy.grafana.build`` writes ``dashboards/*.json``, which Grafana is given.

Not edited by hand: a test makes them anew and compares.
"""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from deploy.grafana.panels import BOARDS, Board, Panel

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
"""As provisioning/datasources names it."""
HEIGHT, WIDTH = 8, 12
"""Of 24 columns: two beside each other."""


def files() -> dict[str, str]:
    """Each dashboard's file and what is in it."""
    return {f"{board.uid}.json": _text(board) for board in BOARDS}


def _text(board: Board) -> str:
    builder = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .tags(["greenroom"])
        .time("now-1h", "now")
        .refresh("10s")
        .timezone("browser")
        .readonly()
    )
    for number, panel in enumerate(board.panels, 1):
        builder = builder.with_panel(_panel(panel, number))
    return json.dumps(builder.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _panel(panel: Panel, number: int) -> stat.Panel | timeseries.Panel:
    made = stat.Panel().reduce_options(_newest()) if panel.stat else timeseries.Panel().min(0).legend(_legend())
    made = made.id(number).title(panel.title).description(panel.told).unit(panel.unit).datasource(SOURCE)
    made = made.height(HEIGHT).span(WIDTH)
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(letter)
        made = made.with_target(target)
    return made


def _newest() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"])


def _legend() -> common.VizLegendOptions:
    return common.VizLegendOptions().show_legend(True).placement(LegendPlacement.BOTTOM)


def main() -> None:
    """Write them."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
