"""`harness down`: remove the cluster and everything beside it."""

from __future__ import annotations

import click


@click.command()
def command() -> None:
    """Remove the cluster, the platform server and the network; the bundle stays."""
    from harness import provision
    from harness._progress import showing
    from harness.env import current_env

    with showing() as show:
        provision.down(current_env(), show)
