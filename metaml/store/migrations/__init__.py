"""The steps from each version of the schema to the next, in ``versions``, run by alembic.

A change of the schema is three things: the new table in ``schema.py`` with ``SCHEMA_VERSION`` one higher, a file here
that makes it out of the old one, and a golden file of the old version among the tests' assets.
"""
