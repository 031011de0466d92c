"""Repeatable random values: the same key gives the same values on every machine and Python version.

Not here: what is drawn (`companies`, `payloads`, `mail_setups`).
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar
from uuid import UUID

T = TypeVar("T")


class Draw:
    """A stream of random values from one key. One hash is enough for dozens; seeding random.Random takes 20 us."""

    __slots__ = ("_key", "_pool")

    def __init__(self, *key: int | str) -> None:
        self._key = blake2b(repr(key).encode()).digest()
        self._pool = int.from_bytes(self._key)

    def below(self, limit: int) -> int:
        """Return an integer in [0, limit)."""
        if self._pool < 1 << 64:
            self._key = blake2b(self._key).digest()
            self._pool = int.from_bytes(self._key)
        self._pool, value = divmod(self._pool, limit)
        return value

    def chance(self, percent: int) -> bool:
        """Return True with a probability of `percent`."""
        return self.below(100) < percent

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of the choices, all with the same probability."""
        return choices[self.below(len(choices))]

    def weighted(self, choices: Sequence[tuple[int, T]]) -> T:
        """Return one of the (percent, choice) pairs' choices. The percents must sum to 100."""
        at = self.below(100)
        for percent, choice in choices:
            at -= percent
            if at < 0:
                return choice
        raise ValueError("the percents do not sum to 100")


def guid(*key: int | str) -> str:
    """Return a GUID in the form of version 4 that depends only on the key."""
    return str(UUID(bytes=blake2b(repr(key).encode(), digest_size=16).digest(), version=4))


class IndexGuid:
    """GUIDs that hold a hidden index, so that a million ids need no table.

    The last 12 bytes are a hash of (seed, index); the first four are the index masked by a hash of those 12.
    """

    def __init__(self, seed: int, kind: str) -> None:
        self._key = f"{seed}:{kind}".encode()

    def of(self, index: int) -> str:
        """Return the GUID of an index in [0, 2**32)."""
        tail = bytearray(blake2b(index.to_bytes(4), key=self._key, digest_size=12).digest())
        tail[2] = tail[2] & 0x0F | 0x40
        tail[4] = tail[4] & 0x3F | 0x80
        return str(UUID(bytes=(index ^ self._mask(tail)).to_bytes(4) + bytes(tail)))

    def index(self, text: str) -> int | None:
        """Return the index of a GUID from `of`, or None for another text."""
        try:
            raw = UUID(text).bytes
        except ValueError:
            return None
        index = int.from_bytes(raw[:4]) ^ self._mask(raw[4:])
        return index if self.of(index) == text else None

    def _mask(self, tail: bytes | bytearray) -> int:
        return int.from_bytes(blake2b(tail, key=self._key, digest_size=4).digest())
