"""A server's counts in the text form of Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from kinestream.server.hub import Hub
from kinestream.server.jobs import JobRunner


def metrics_text(hubs: Iterable[Hub], connections: int, jobs: JobRunner) -> tuple[bytes, str]:
    """The counts, and their media type."""
    registry = CollectorRegistry()

    def gauge(name: str, said: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"kinestream_{name}", said, labels, registry=registry)

    gauge("connections", "Open connections of live streams").set(connections)
    streams = gauge("streams", "Live streams by kind and state", ("kind", "state"))
    steps = gauge("steps_total", "Steps of the engine", ("kind",))
    frames = gauge("frames_total", "Frames sent", ("kind",))
    busy = gauge("step_seconds_total", "Time spent in steps", ("kind",))
    for hub in hubs:
        for live in list(hub.streams.values()):
            streams.labels(hub.kind, live.stream.state).inc()
        steps.labels(hub.kind).set(hub.steps)
        frames.labels(hub.kind).set(hub.frames)
        busy.labels(hub.kind).set(hub.step_s)
    over = gauge("jobs_total", "Jobs that are over, by outcome", ("outcome",))
    for outcome, count in jobs.counts.items():
        over.labels(outcome).set(count)
    return generate_latest(registry), CONTENT_TYPE_LATEST
