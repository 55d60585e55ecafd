"""How long to wait for a server, and how often to ask: bounds for libraries that have none of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import requests
import urllib3
from requests.adapters import HTTPAdapter

PATIENCE_S = 30.0
"""No further try begins unless it must end before this much time has passed since the first one began."""
FIRST_WAIT_S = 1.0
"""Pause before the second try; each further pause is twice as long, or as long as the server asks for."""
_BUSY = (429, 500, 502, 503, 504)
_one_at_a_time = threading.RLock()
_T = TypeVar("_T")


class RefusedError(requests.RequestException):
    """An answer that is none: its HTTP status (200 for a web page in place of data), and when to ask again."""

    def __init__(self, status: int, wait: float = 0.0) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.wait = wait
        """Seconds."""

    @property
    def is_busy(self) -> bool:
        """Whether the same question may be answered later."""
        return self.status in _BUSY


@contextmanager
def time_limits(timeout: float) -> Iterator[None]:
    """Give every request of this process a time limit and one try; raise `RefusedError` for answers without data.

    Args:
        timeout: Seconds of silence after which a server is given up.
    """
    send, urlopen = HTTPAdapter.send, urllib3.PoolManager.urlopen

    def send_with_limit(adapter: HTTPAdapter, request: Any, **options: Any) -> requests.Response:
        response = send(adapter, request, **{**options, "timeout": options.get("timeout") or timeout})
        _check(response)
        return response

    def open_with_limit(pool: urllib3.PoolManager, method: str, url: str, **options: Any) -> Any:
        return urlopen(pool, method, url, **{**options, "timeout": timeout, "retries": urllib3.Retry(0, redirect=3)})

    with _one_at_a_time:
        HTTPAdapter.send = send_with_limit  # type: ignore[method-assign,assignment]
        urllib3.PoolManager.urlopen = open_with_limit  # type: ignore[method-assign,assignment]
        try:
            yield
        finally:
            HTTPAdapter.send = send  # type: ignore[method-assign]
            urllib3.PoolManager.urlopen = urlopen  # type: ignore[method-assign]


def _check(response: requests.Response) -> None:
    """Raise `RefusedError` if a server is busy, sends a web page, or an error without saying which."""
    start = response.content[:500].lstrip().lower() if response.status_code != 200 else b""
    is_page = "html" in response.headers.get("Content-Type", "") or start.startswith((b"<html", b"<!doctype html"))
    if response.is_redirect or (response.status_code < 400 and not is_page):
        return
    if response.status_code in _BUSY or is_page or not start.startswith((b"<?xml", b"<oml:")):
        asked = response.headers.get("Retry-After", "")
        raise RefusedError(response.status_code, float(asked) if asked.isdigit() else 0.0)


class Patience:
    """Tries again what may succeed later, for `PATIENCE_S` seconds in all."""

    def __init__(self, may_pass: Callable[[Exception], bool], timeout: float) -> None:
        """Begin to be patient.

        Args:
            may_pass: Tells which errors may be gone at the next try.
            timeout: Seconds that a try may be silent.
        """
        self._may_pass, self._timeout = may_pass, timeout
        self._started = time.monotonic()

    def call(self, fetch: Callable[[], _T]) -> _T:
        """Return what a function returns, or raise its error once it may not pass or the time is over."""
        pause = FIRST_WAIT_S
        while True:
            try:
                return fetch()
            except Exception as error:
                wait = max(pause, error.wait if isinstance(error, RefusedError) else 0.0)
                end = time.monotonic() - self._started + wait + min(self._timeout, PATIENCE_S / 3)
                if not self._may_pass(error) or end > PATIENCE_S:
                    raise
            time.sleep(wait)
            pause *= 2
