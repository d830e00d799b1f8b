"""``python -m deploy.aws.app``: what ``cdk`` runs. Three stacks, in the order in which they come up."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from aws_cdk import App, Environment, Tags

from deploy.aws.compute import Compute
from deploy.aws.config import Config, ConfigError
from deploy.aws.data import Data
from deploy.aws.network import Network


@dataclass(frozen=True)
class Stacks:
    """All of one Greenroom."""

    network: Network
    data: Data
    compute: Compute


def build(app: App, config: Config) -> Stacks:
    """The three stacks, in the account and region of whoever runs ``cdk``."""
    account, region = os.environ.get("CDK_DEFAULT_ACCOUNT"), os.environ.get("CDK_DEFAULT_REGION")
    where = Environment(account=account, region=region) if region else None
    network = Network(app, "greenroom-network", config=config, env=where)
    data = Data(app, "greenroom-data", network=network, config=config, env=where)
    compute = Compute(app, "greenroom-compute", network=network, data=data, config=config, env=where)
    Tags.of(app).add("project", "greenroom")
    return Stacks(network, data, compute)


def main() -> None:
    """Read the context and write the templates."""
    app = App()
    try:
        config = Config.of(app.node.try_get_context)
    except ConfigError as error:
        sys.exit(f"greenroom: {error}")
    build(app, config)
    app.synth()


if __name__ == "__main__":
    main()
