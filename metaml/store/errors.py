"""The ways in which a store fails; each is a `StoreError`, so one ``except`` catches them all."""

from metaml.errors import StoreError


class StoreMissingError(StoreError):
    """There is no store at that place, and it was not asked to create one."""


class StoreCorruptError(StoreError):
    """The file is no store, or a damaged one. It is never modified."""


class StoreVersionError(StoreError):
    """The schema of the store is newer, or older, than the one this version works with."""


class StoreReadOnlyError(StoreError):
    """Something was to be written where nothing may be written."""


class StoreFullError(StoreError):
    """The disk, or the quota, of the store is used up."""


class StoreUnavailableError(StoreError):
    """The store is locked or its server does not answer: what was to be written may be written later."""
