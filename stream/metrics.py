"""Every counter and histogram, with buckets that fit a frame budget. Knows what is counted, not who looks."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily

from stream.events import SessionEvent
from stream.latency import stages_of
from stream.pacer import Tick

STAGE_BUCKETS_S = (0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0)
OFFSET_BUCKETS_S = (0.0, 0.04, 0.08, 0.12, 0.2, 0.4, 1.0)
HEADROOM_BUCKETS_S = (-0.5, -0.2, -0.08, -0.04, -0.02, 0.0, 0.005, 0.01, 0.02, 0.04, 0.08, 0.2)


class Metrics:
    """One per server. No labels per session: their number has no bound."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()

        def histogram(name: str, text: str, labels: tuple[str, ...] = (), buckets=STAGE_BUCKETS_S) -> Histogram:
            return Histogram(f"visavis_{name}", text, labels, buckets=buckets, registry=registry)

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"visavis_{name}", text, labels, registry=registry)

        self._stage = histogram("stage_seconds", "Time of a frame in each stage; total: sound to release", ("stage",))
        self._frames = counter("frames_total", "Frames sent; of them late or repeated; and dropped", ("kind",))
        self._offset = histogram("av_offset_seconds", "How far a picture trails its sound", buckets=OFFSET_BUCKETS_S)
        self._headroom = histogram(
            "chunk_headroom_seconds", "Deadline of a chunk minus its completion", buckets=HEADROOM_BUCKETS_S
        )
        self._chunk = histogram("chunk_seconds", "Time a worker took for a batch of chunks")
        self._batch = histogram("batch_size", "Sessions in a batch", buckets=(1, 2, 3, 4, 6, 8, 12, 16))
        self._vad = counter("vad_events_total", "Speech started and stopped", ("event",))
        self._restarts = counter("worker_restarts_total", "Workers that died or hung and were started again")
        self._refusals = counter("refusals_total", "Requests refused, by reason", ("reason",))
        self._steps = Gauge("visavis_denoise_steps", "Denoising steps now in use", registry=registry)
        self._connections = Gauge("visavis_connections", "Open connections", ("transport",), registry=registry)
        for kind in ("sent", "late", "repeated", "dropped"):
            self._frames.labels(kind)
        for transport in ("rtc", "whip", "whep", "ws"):
            self._connections.labels(transport)

    # sessions

    def tick(self, tick: Tick, fps: int) -> None:
        self._frames.labels("sent").inc()
        if tick.repeated:
            self._frames.labels("repeated").inc()
        if tick.late_s > 1 / fps:
            self._frames.labels("late").inc()
        if tick.frame is not None:
            self._offset.observe((tick.index - tick.picture_index) / fps)
        for stage, seconds in stages_of(tick).items():
            self._stage.labels(stage).observe(seconds)

    def stage(self, name: str, seconds: float) -> None:
        self._stage.labels(name).observe(seconds)

    def chunk_headroom(self, seconds: float) -> None:
        self._headroom.observe(seconds)

    def vad_event(self, event: SessionEvent) -> None:
        self._vad.labels(type(event).__name__).inc()

    def refused(self, reason: str) -> None:
        self._refusals.labels(reason).inc()

    @contextmanager
    def connection(self, transport: str) -> Iterator[None]:
        with self._connections.labels(transport).track_inprogress():
            yield

    def watch_sessions(self, states: Callable[[], Iterable[str]]) -> None:
        """Count sessions by state at the moment somebody looks."""
        self.registry.register(_SessionStates(states))

    # pool

    def batch(self, size: int, seconds: float, steps: int) -> None:
        self._batch.observe(size)
        self._chunk.observe(seconds)
        self._steps.set(steps)

    def chunk_dropped(self, frames: int) -> None:
        self._frames.labels("dropped").inc(frames)

    def worker_restarted(self) -> None:
        self._restarts.inc()


class _SessionStates:
    def __init__(self, states: Callable[[], Iterable[str]]) -> None:
        self._states = states

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily("visavis_sessions", "Sessions by state", labels=("state",))
        tally = Tally(self._states())
        for state in ("starting", "idle", "speaking", "closing"):
            family.add_metric((state,), tally[state])
        yield family
