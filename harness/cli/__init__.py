"""The command line. Each command is a module in this package, imported only when it is called: `--help` stays quick."""

from __future__ import annotations

import os
import sys

import click

# name -> one line for `--help`; the module of that name holds `command`.
COMMANDS = {
    "up": "Make the cluster with the whole platform, or reuse it.",
    "down": "Remove the cluster and everything beside it.",
    "status": "Say what is there and whether it is healthy.",
    "machines": "Machines in containers, to try the provider kubeadm on.",
    "attached": "An existing cluster: what is possible there, and the least rights for it.",
    "bundle": "Build, pull or inspect the images and manifests.",
    "faults": "List, describe and run faults.",
    "sweep": "Find and undo what a killed run left behind.",
    "calibrate": "Measure our own measuring error; reports show it.",
    "judge": "Judge a stored run again.",
    "report": "Write the report of a stored run again.",
    "gate": "Say whether a run may ship: 0 ship, 1 do not, 2 cannot tell.",
}


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        import importlib

        command: click.Command = importlib.import_module(f"harness.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--env", "env_name", envvar="HARNESS_ENV", help="The environment (default: `env` of harness.toml, or desk)."
)
@click.option(
    "--config", "config_file", envvar="HARNESS_CONFIG", help="The configuration (default: harness.toml, here or above)."
)
@click.version_option(package_name="resilience-harness")
def cli(env_name: str | None, config_file: str | None) -> None:
    """Break an on-prem GitOps platform on purpose, and prove that alerts, GitOps and users came through."""
    set_variables(HARNESS_ENV=env_name, HARNESS_CONFIG=config_file)


def set_variables(**variables: object) -> None:
    """What a flag says, as its variable, which all that is started from here sees too; None changes nothing."""
    os.environ.update({name: str(value) for name, value in variables.items() if value is not None})


def main() -> None:
    """Run the command line; errors of the harness are shown as one block and become an exit code."""
    from harness._errors import HarnessError

    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as err:
        err.show()
        sys.exit(err.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped", err=True)
        sys.exit(130)
    except HarnessError as err:
        _explain(err.what, err.where, err.last, err.fix)
        sys.exit(err.exit_code)


def _explain(what: str, where: str, last: object, fix: str) -> None:
    click.secho(f"error: {what}", fg="red", bold=True, err=True)
    for label, value in (("where", where), ("last seen", last), ("try", fix)):
        if value:
            text = str(value).replace("\n", "\n             ")
            click.echo(f"  {label:>9}: {text}", err=True)
