"""The questions asked of the system, one command a file (``python -m experiments.NAME``); nothing imports them."""
