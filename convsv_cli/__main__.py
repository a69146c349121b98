"""`python -m convsv_cli`."""

from convsv_cli.cli import main

if __name__ == "__main__":
    main()
