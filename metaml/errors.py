"""The errors that MetaML raises on purpose; each knows the exit code of the command that ends with it."""


class MetamlError(Exception):
    """The base of all errors that are meant for the user: one sentence, and what to do about it."""

    exit_code = 1


class SearchError(MetamlError):
    """A search that could not deliver a model."""

    exit_code = 1


class DataError(MetamlError):
    """Data that cannot be used as a task: missing, empty, mistyped target, or one class only."""

    exit_code = 2


class UsageError(MetamlError):
    """Arguments that do not fit together or do not exist."""

    exit_code = 2


class StoreError(MetamlError):
    """A metadata store that cannot be opened, read or written."""

    exit_code = 3
