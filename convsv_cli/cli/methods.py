"""`convsv methods`: the calculators, what each figure means, and where it is from."""

from __future__ import annotations

import click

from convsv_cli.calculators import CALCULATORS


@click.command()
def methods() -> None:
    """List the calculators, what each figure proves, its cost and its reference.

    \b
    Examples:
      convsv methods
    """  # noqa: D301  (click takes \b for "keep these lines")
    for calculator in CALCULATORS:
        method = calculator.method
        click.echo(click.style(method.name, bold=True) + f" ({method.kind})")
        click.echo(f"  proves     {method.proves}")
        click.echo(f"  cost       {method.cost}")
        click.echo(f"  reference  {method.reference}")
