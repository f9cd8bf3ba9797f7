"""A timer without a clock: times follow from what a module is, and every subject that was timed is remembered."""

from collections.abc import Sequence

from nas.profiling.timer import Subject, TimerConfig, Timing


def steady(ms: float) -> Timing:
    return Timing(median_ms=ms, low_ms=ms, high_ms=ms, repeats=9, clock="fake")


def weighed(subject: Subject) -> float:
    return 0.1 + sum(p.numel() for p in subject.module.parameters()) / 1e4


class FakeTimer:
    def __init__(self) -> None:
        self.timed: list[Subject] = []

    def __call__(
        self, subjects: Sequence[Subject], reference: Subject, settings: TimerConfig, *, threads: int = 1
    ) -> tuple[list[Timing], Timing]:
        self.timed += [subject for subject in subjects if subject is not reference]
        return [steady(weighed(subject)) for subject in subjects], steady(weighed(reference))


class FakeClock:
    """Says for each call the seconds that its subject asks for, times how slow the machine is at that moment."""

    name = "fake"

    def __init__(self, pace: Sequence[float]) -> None:
        self.pace, self.at = pace, 0

    def elapsed_ms(self, call: Subject, count: int) -> float:
        self.at += 1
        return count * call.module.ms * self.pace[self.at % len(self.pace)]  # type: ignore[operator]
