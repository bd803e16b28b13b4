"""What Prometheus reads: calls by route and status, how long they took, and events by what became of them."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """The counters of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._calls = Counter(
            "marketing_sidecar_requests",
            "Calls that were answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "marketing_sidecar_request_seconds",
            "Seconds from the head of a request to the end of its answer.",
            ("route",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.events = Counter(
            "marketing_sidecar_events",
            "Events that the app reported, by what became of them.",
            ("kind", "outcome"),
            registry=self._registry,
        )
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        place = (method, route, status)
        children = self._children.get(place)
        if children is None:
            children = (self._calls.labels(method, route, str(status)), self._seconds.labels(route))
            self._children[place] = children
        children[0].inc()
        children[1].observe(seconds)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
