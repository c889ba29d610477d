"""`python -m dpedkit` is the `dpedkit` command; `torchrun -m dpedkit` needs this form."""

from dpedkit.cli import main

if __name__ == "__main__":
    main()
