"""Write the schemas anew, from the versions of the modules that are named here."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
KEDA = ("github.com/kedacore/keda/v2", "v2.21.0", "config/crd/bases")
OPERATOR = ("github.com/prometheus-operator/prometheus-operator", "v0.85.0", "example/prometheus-operator-crd")
SOURCES = {
    "keda.sh_scaledobjects.yaml": KEDA,
    "keda.sh_triggerauthentications.yaml": KEDA,
    "monitoring.coreos.com_prometheusrules.yaml": OPERATOR,
    "monitoring.coreos.com_servicemonitors.yaml": OPERATOR,
}


def main() -> None:
    """Fetch each module once, and write a file for each version of each kind."""
    folders = {module: fetched(*module[:2]) / module[2] for module in {*SOURCES.values()}}
    for name, module in SOURCES.items():
        definition = yaml.safe_load((folders[module] / name).read_text())["spec"]
        for version in definition["versions"]:
            kind = f"{definition['names']['kind']}.{definition['group']}.{version['name']}"
            schema = strict(version["schema"]["openAPIV3Schema"])
            text = json.dumps({"$comment": f"{module[0]}@{module[1]}, Apache-2.0", **schema}, separators=(",", ":"))
            (HERE / f"{kind}.json").write_text(text + "\n")


def fetched(module: str, version: str) -> Path:
    """The folder of a Go module, in Go's own cache."""
    with tempfile.TemporaryDirectory() as folder:
        argv = ["go", "mod", "download", "-json", f"{module}@{version}"]
        done = subprocess.run(argv, cwd=folder, check=True, capture_output=True, text=True)
    return Path(json.loads(done.stdout)["Dir"])


def strict(schema: Any) -> Any:
    """The schema without descriptions, and with nothing allowed beside what it names."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    # Under "properties" a key is a property's name, and may be called description, too.
    kept = {
        key: {name: strict(each) for name, each in value.items()} if key == "properties" else strict(value)
        for key, value in schema.items()
        if key != "description" and not key.startswith("x-kubernetes-validations")
    }
    if "properties" in kept and not kept.get("x-kubernetes-preserve-unknown-fields"):
        kept.setdefault("additionalProperties", False)
    return kept


if __name__ == "__main__":
    main()
