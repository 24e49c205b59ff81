"""The chunker of casync and desync (docs/formats/chunkers.md): a cyclic polynomial of 48 bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdl.chunkers.limited import WINDOW, limited

_LONGEST_AVERAGE = 1 << 22
"""Bytes; of more than twice as many the formula of the divisor makes no sense."""


class Buzhash:
    """See `Chunker`. Sizes in bytes; raises ValueError for what casync has not."""

    def __init__(self, least: int, average: int, most: int) -> None:
        if not WINDOW <= least <= average <= min(most, _LONGEST_AVERAGE):
            raise ValueError("sizes out of order, or out of bounds")
        self.most, self._least = most, least
        fitted = int(average / (-1.42888852e-7 * average + 1.33237515))
        self._divisor = np.uint32(max(fitted, least))

    def cuts(self, data: memoryview, *, final: bool) -> list[int]:
        """See `Chunker`. The byte that completes a window ends the chunk."""
        return limited(data, self._marks, WINDOW, self._least, self.most, final=final)

    def _marks(self, content: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """See `Marks`."""
        values = _values(content)
        quotients = values // self._divisor
        quotients *= self._divisor
        values -= quotients
        return values >= self._divisor - np.uint32(1)


def _values(content: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The hash of every window: of twice as many bytes it is the first half's, rotated by as many
    bits, and the second's; three of 16 make one of 48."""
    values = _TABLE.take(content)
    size = 1
    while size < WINDOW // 3:
        values = _rotated(values[:-size], size) ^ values[size:]
        size *= 2
    whole = _rotated(values[size:-size], size)
    whole ^= values[: -2 * size]  # rotated by all of its 32 bits
    whole ^= values[2 * size :]
    return whole


def _rotated(values: NDArray[np.uint32], bits: int) -> NDArray[np.uint32]:
    turned = values << np.uint32(bits)
    turned |= values >> np.uint32(32 - bits)
    return turned


_TABLE = np.frombuffer(
    bytes.fromhex(
        """
        458be752c10748ccfbbcdbb86ded5b68b10a82b520d75648dfc5665fa84288017ebf5191841135c765cc53b3
        280a597c16f60255c78cbc3e294415f5b938d494ec85c4e6b7d33edce549b544fdeda5aa882bf2873116737c
        05569956e8cc1f680806ac5e22a1444315297e1050d090e74ba60f6fefd9f1a75c5c885c82482f939bfd7c64
        0b3e7276f2688e778fad8abcb0509568f1ada29fa53efdfecb2b1d00f2a9e9866463432b950940515a223ad2
        9be8401b61e579cb1a556a145840fdc29261ddf6cde002bb52432bb0bf17373e7b7c222f2955ed169f10ca59
        e840c4c9ccabd80614543f341462417a0d4a1f9c087ed925d7f8f24c7338c425cf86c8f5b19165cd9891c393
        325384ac0308459d86141d7ec922116ae2ffa6b653f52aed2cd86197f5b9f498bf319c8fe0411fae977eb18c
        d87709769833466ac674df7f8c297d458ca48d26c49ed8e27344f874556f79c76b25eaeda03e2b42f68f66a4
        8e8b09a2f2e0e62a0d3a98069729e4938c72b0fc160b94f6450e4d3d7a320e85bef8f0e121d736534e3d977a
        1e7b39291cc6c719be478d538d752809e6d8c2c6275f0892c8acc2734cc21580ecc4a617f5f7be70e795248a
        375a2fe9425570b68898dcf8dc2d97c40106114b364dc22f1e0cad1fbe63803c5f69fac24d5afa6f1bc0dfb5
        fb2735890ea47f7b3c1c2b5021b2a9326b1223fd2fe706a8f9bd6ce2a268e64ee987f4863eacf5631ca2018c
        65e182282207360a57cf171534c37d2b1f8f3cde93b657cf31a019fde69eb7298bca7b9b4c9d5bed277ebeaf
        e0d8f8aed150821c31381871afc3f1b0927db328e95effac305a47bd426ba35b1233af3f686a5b8350e072e5
        d9d3bb2a8befc475487f0de6c88dff89bd664d5e971b5d1863b14847d7d3c1ce7f583cf372cbcb09c0d0a81c
        7fa3429be9158a1b225ea19ad8ca9ea3c763b282bb0c6341020b8293d4cd299d58cfa7f891b4ee5337e4d140
        95ec764c30f76b065ee68d24679c8661a41979c2f2b612844fac14750adb49f919727a2315a7e374c43a18d5
        3fb1aa73342fc615924c0793bee2d7f08a279de94aa2d70ce24dd37fbe862c0b177c22c25388e5eecd8a7510
        f901b4fddbc13dbc6c0bae5b64efe8c748b0207980331a49ca3d8ae6f3546190fed7108bc49b941b32baf4a9
        eb833a4a88a3f1a53a91ce0a3cc27da17112e6844a3096b13794574ca3c8b6f31d2139416e0a2e00233479f1
        0f4cd82f6093edd25d7d209e464fe319d4dcac9e0db845cbfb5e4bc3e0256ce109fb4ed10914be1ea5bdb2c3
        c6eb57bb303203503f397e91a67791bc86bc0e2cefa0a7e2e9ff7543e733612cd185897b329e538891dd236b
        2ecb0d93f4d82a3d35b5c03fe4e606f005b2184337b459645eff22f46027f4cc77178b3cae5071317bf7cabc
        f9c18d66593ade65d95ddf11
        """
    ),
    ">u4",
).astype(np.uint32)
