"""Numbers of variable length: seven bits a byte, the lowest first (docs/formats/wishlist.md)."""

from __future__ import annotations

from rdl.errors import ProtocolError


def encode(number: int) -> bytes:
    """`number` ≥ 0 in as few bytes as it takes."""
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


def decode(data: bytes | bytearray, at: int, most: int, what: str) -> tuple[int, int] | None:
    """The number that begins at `at`, and where it ends; None where not all of it is there yet.
    Raises ProtocolError about `what` for one above `most`, as soon as that is seen, and for one
    that is longer than it need be."""
    number = 0
    for step in range(max(1, (most.bit_length() + 6) // 7)):
        if at + step >= len(data):
            return None
        byte = data[at + step]
        number |= (byte & 0x7F) << 7 * step
        if byte < 0x80:
            if number > most:
                break
            if byte == 0 and step:
                raise ProtocolError(what, "a number that is longer than it need be")
            return number, at + step + 1
    raise ProtocolError(what, f"a number above {most}")


def encode_signed(number: int) -> bytes:
    """Zig-zag: 0, -1, 1, -2, ... are 0, 1, 2, 3, ..."""
    return encode(2 * number if number >= 0 else -2 * number - 1)


def decode_signed(data: bytes | bytearray, at: int, most: int, what: str) -> tuple[int, int] | None:
    """As decode(); `most` is what the number may be on either side of 0."""
    found = decode(data, at, 2 * most, what)
    return found and ((found[0] >> 1) ^ -(found[0] & 1), found[1])
