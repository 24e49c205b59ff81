"""Python's own http.server as a program, with a throttle: PORT FOLDER BYTES-A-SECOND."""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

STEP = 64 << 10


class Handler(SimpleHTTPRequestHandler):
    """SimpleHTTPRequestHandler that sends at most `rate` bytes a second; 0: no limit."""

    def __init__(self, *arguments: Any, rate: int, **named: Any) -> None:
        self.rate = rate
        super().__init__(*arguments, **named)

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send the file; a client that leaves is none of our business."""
        with contextlib.suppress(ConnectionError):
            while block := source.read(STEP):
                outputfile.write(block)
                if self.rate:
                    time.sleep(len(block) / self.rate)


def main() -> None:
    """Serve until killed."""
    port, folder, rate = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    handler = functools.partial(Handler, directory=folder, rate=rate)
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
