"""``python -m metaml`` is the command line."""

from metaml.cli import main

main()
