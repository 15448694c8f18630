"""/metrics: what runs did and where the syncs stand, in Prometheus' words. docs/operations.md lists every name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

from gitsync.model.run import RunReport
from gitsync.model.view import SyncView

STEP_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
RUN_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
ANSWER_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 5)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the store has open.

    known: the store could be asked; else there is nothing here, and nothing is said. holds: by sync. deliveries: by sync and kind.
    """

    known: bool = True
    holds: Mapping[str, int] = field(default_factory=dict)
    deliveries: Mapping[tuple[str, str], int] = field(default_factory=dict)


class Metrics:
    """What is counted while it happens, and what is looked up when somebody asks. All of it in a registry of its own."""

    def __init__(self, version: str = "") -> None:
        # else there is a second series for each counter, which nobody here reads
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = CollectorRegistry()
        ProcessCollector(namespace="gitsync", registry=registry)

        def counter(name: str, says: str, *labels: str) -> Counter:
            return Counter(f"gitsync_{name}", says, labels, registry=registry)

        def gauge(name: str, says: str, *labels: str) -> Gauge:
            return Gauge(f"gitsync_{name}", says, labels, registry=registry)

        def histogram(name: str, says: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"gitsync_{name}", says, labels, registry=registry, buckets=buckets)

        gauge("build_info", "Always 1; the version is in the label.", "version").labels(version).set(1)
        self._runs = counter("runs_total", "Runs that ended, by how.", "sync", "outcome")
        self._services = counter(
            "services_total", "Services in runs that ended, by what became of them.", "sync", "outcome"
        )
        self._run_seconds = histogram("run_seconds", "How long runs took.", RUN_SECONDS, "sync")
        self._step_seconds = histogram("step_seconds", "How long the steps of runs took.", STEP_SECONDS, "step")
        self._webhooks = counter("webhooks_total", "Deliveries to /hooks, by what became of them.", "sync", "verdict")
        self._answers = histogram("webhook_seconds", "How long answers to deliveries took.", ANSWER_SECONDS)
        self._success_age = gauge("last_success_age_seconds", "Since Git and Consul both answered last.", "sync")
        self._views = {
            "ready": gauge("sync_ready", "1 where the sync looked at Git and Consul with success of late.", "sync"),
            "suspended": gauge("sync_suspended", "1 where a person stopped the sync.", "sync"),
            "running": gauge("run_in_flight", "1 while a run of the sync goes on.", "sync"),
            "waiting": gauge("run_waiting", "1 while a run of the sync waits for the end of another.", "sync"),
            "failures": gauge("sync_failures", "Runs of the sync that failed in a row.", "sync"),
        }
        self._store_up = gauge("store_up", "1 where the history can be read.")
        self._holds = gauge("holds_open", "Holds that wait for an approval.", "sync")
        self._deliveries = gauge("deliveries_waiting", "What is still to be told to others.", "sync", "kind")

    # -- what happens

    def run_ended(self, report: RunReport) -> None:
        """A run has ended, in whatever way."""
        self._runs.labels(report.sync, str(report.outcome)).inc()
        for outcome, count in report.counts.items():
            self._services.labels(report.sync, str(outcome)).inc(count)
        for step in report.steps:
            self._step_seconds.labels(step.step).observe(step.seconds)
        self._run_seconds.labels(report.sync).observe(sum(step.seconds for step in report.steps))

    def webhook(self, sync: str, verdict: str, seconds: float | None = None) -> None:
        """A delivery was answered. sync: "" where there is none of the name that was asked for."""
        self._webhooks.labels(sync, verdict).inc()
        if seconds is not None:
            self._answers.observe(seconds)

    # -- what is asked for

    def exposed(
        self, views: Mapping[str, SyncView], waiting: Waiting, now: datetime, *, accept: str = ""
    ) -> tuple[bytes, str]:
        """Everything, in the format that *accept* asks for, and its content type."""
        every = (self._success_age, *self._views.values(), self._holds, self._deliveries)
        for each in every:
            each.clear()
        for name, view in views.items():
            if view.last_success:
                age = (now - datetime.fromisoformat(view.last_success)).total_seconds()
                self._success_age.labels(name).set(max(0.0, age))
            facts = {
                "ready": not view.trouble,
                "suspended": view.suspended,
                "running": bool(view.in_flight),
                "waiting": bool(view.waiting),
                "failures": view.failures,
            }
            for fact, value in facts.items():
                self._views[fact].labels(name).set(value)
        self._store_up.set(waiting.known)
        for name, count in waiting.holds.items():
            self._holds.labels(name).set(count)
        for (name, kind), count in waiting.deliveries.items():
            self._deliveries.labels(name, kind).set(count)
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type
