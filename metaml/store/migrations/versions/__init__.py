"""One file a version, each frozen: it must not use ``schema.py``, which changes."""
