"""`python -m convsv`."""

from convsv_cli.__main__ import main

if __name__ == "__main__":
    main()
