"""Content-addressed values: least-recently-used in memory, in front of disk."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Any

from engine import codec, keys
from engine.disk import Disk
from engine.errors import BadFile

log = logging.getLogger(__name__)


class Store:
    """Put values, get them by digest. With `disk` None, values live in memory only and may be evicted for good.

    `budget` bounds the bytes kept in memory. Without a disk, a run holds what it still needs and calls `release`; only
    then is anything evicted.
    """

    def __init__(self, budget: int, disk: Disk | None = None) -> None:
        self.budget = budget
        self.disk = disk
        self._values: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._held: Counter[str] = Counter()

    def put(self, value: Any) -> str:
        """Keep `value` and return its digest. Plain numbers and short texts are their own digest and need no place."""
        digest = keys.plain_digest(value)
        if digest is not None:
            return digest
        encoded = codec.encode(value)
        if encoded.digest not in self._values:
            if self.disk is not None:
                self.disk.write(encoded)
            self._remember(encoded.digest, codec.settled(encoded), encoded.nbytes)
        return encoded.digest

    def get(self, digest: str) -> Any:
        """Return the value of `digest`; KeyError if it is gone. Bytes that have changed on disk count as gone."""
        if keys.is_plain(digest):
            return keys.plain_value(digest)
        entry = self._values.get(digest)
        if entry is not None:
            self._values.move_to_end(digest)
            return entry[0]
        if self.disk is None:
            raise KeyError(digest)
        try:
            value = self.disk.read(digest)
        except BadFile as error:
            log.warning("%s It is made again.", error.message)
            raise KeyError(digest) from None
        self._remember(digest, value, sum(t.nbytes for t in codec.tensors_of(value)))
        return value

    def has(self, digest: str) -> bool:
        """Say whether `get` would find the value (its bytes on disk are not verified yet)."""
        if keys.is_plain(digest) or digest in self._values:
            return True
        return self.disk is not None and self.disk.has(digest)

    def forget_all(self) -> None:
        """Drop all values from memory, because a node changed one in place."""
        self._values.clear()
        self._bytes = 0

    def hold(self, digests: Iterable[str]) -> None:
        """Keep these values in memory until they are released as often as held."""
        self._held.update(digests)
        self._evict()

    def release(self, digests: Iterable[str]) -> None:
        """Let go of held values."""
        for digest in digests:
            self._held[digest] -= 1
            if not self._held[digest]:
                del self._held[digest]
        self._evict()

    @property
    def nbytes(self) -> int:
        """Bytes of values in memory."""
        return self._bytes

    def _remember(self, digest: str, value: Any, size: int) -> None:
        self._values[digest] = (value, size)
        self._bytes += size
        if self.disk is not None:
            self._evict()

    def _evict(self) -> None:
        """Drop the least recently used values over the budget, but none that is held, nor the newest: it is in use."""
        for _ in range(len(self._values) - 1):
            if self._bytes <= self.budget:
                return
            digest, entry = self._values.popitem(last=False)
            if self._held[digest]:
                self._values[digest] = entry
            else:
                self._bytes -= entry[1]
