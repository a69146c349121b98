"""`python -m convsv_cli`, and the program `convsv`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, also where Ctrl-C comes before it is imported."""
    try:
        from convsv_cli.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("convsv: interrupted\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
