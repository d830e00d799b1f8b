"""What ``greenroom doctor --deploy PLATFORM --program PROGRAM`` says of the variables in a platform's files."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.cli.deploy_checks import Deployment, examine
from orchestrator.cli.deploy_platforms import Platform, environment_in
from orchestrator.cli.serve import Program
from orchestrator.settings import read_elsewhere


def complaints(platform: Platform, program: Program, container: Mapping[str, str]) -> dict[str, str]:
    """What is not well, and how bad that is."""
    environ = environment_in(container)
    findings = examine(platform, Deployment(read_elsewhere(environ), environ), program)
    return {finding.what: finding.state for finding in findings if finding.state != "ok"}
