"""What a server did, in numbers: the text that Prometheus reads."""

from __future__ import annotations

from collections import Counter


class Tally:
    """Counts since the start."""

    def __init__(self) -> None:
        self.requests: Counter[int] = Counter()
        """Answers by status."""
        self.sent = self.accepted = self.turned_away = self.cut = 0
        """Bytes of heads and bodies; connections; those refused for their number; answers
        that ended before their last byte."""

    def text(self, open: int, stalled: int) -> str:
        """Prometheus' text format, with these numbers of connections of now."""
        statuses = [
            f'rdl_requests_total{{status="{status}"}} {count}'
            for status, count in sorted(self.requests.items())
        ]
        return "\n".join(
            [
                "# TYPE rdl_requests_total counter",
                *statuses,
                *_counter("sent_bytes_total", self.sent),
                *_counter("connections_total", self.accepted),
                *_counter("connections_refused_total", self.turned_away),
                *_counter("answers_cut_total", self.cut),
                "# TYPE rdl_connections_open gauge",
                f"rdl_connections_open {open}",
                "# TYPE rdl_connections_stalled gauge",
                f"rdl_connections_stalled {stalled}",
                "",
            ]
        )


def _counter(name: str, value: int) -> list[str]:
    return [f"# TYPE rdl_{name} counter", f"rdl_{name} {value}"]
