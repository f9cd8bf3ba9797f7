from pathlib import Path

from tensorboardX.proto import event_pb2

from nas.tensorboard import Scalars, numbers


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    """What TensorBoard reads: records of length, checksum, event and checksum."""
    found = []
    for path in sorted(folder.iterdir()):
        content, place = path.read_bytes(), 0
        while place < len(content):
            length = int.from_bytes(content[place : place + 8], "little")
            event = event_pb2.Event.FromString(content[place + 12 : place + 12 + length])
            found += [(value.tag, event.step, round(value.simple_value, 4)) for value in event.summary.value]
            place += 16 + length
    return found


def test_training_rows_stand_at_their_step(tmp_path: Path) -> None:
    taker = Scalars(tmp_path / "train")
    taker([{"step": 0, "loss.largest": 3.0}, {"step": 20, "loss.largest": 2.5, "grad_norm": float("nan")}])
    taker.close()
    assert scalars(tmp_path / "train") == [("loss/largest", 0, 3.0), ("loss/largest", 20, 2.5)]


def test_evaluations_stand_one_after_the_other(tmp_path: Path) -> None:
    taker = Scalars(tmp_path / "search")
    taker([{"journal": 2}, {"claim": ["a"], "owner": "b"}, {"digest": "a", "values": {"accuracy": 0.5}, "seconds": 2}])
    taker([{"digest": "b", "values": {"accuracy": 0.75}, "seconds": 3}])
    taker.close()
    assert sorted(scalars(tmp_path / "search")) == [
        ("accuracy", 0, 0.5),
        ("accuracy", 1, 0.75),
        ("seconds", 0, 2.0),
        ("seconds", 1, 3.0),
    ]


def test_a_second_start_replaces_the_first(tmp_path: Path) -> None:
    for _ in range(2):
        taker = Scalars(tmp_path / "train")
        taker([{"step": 0, "loss": 3.0}])
        taker.close()
    assert scalars(tmp_path / "train") == [("loss", 0, 3.0)]


def test_only_finite_numbers_count() -> None:
    row = {"step": 3, "a": 1, "b": True, "c": "x", "d": float("inf"), "values": {"e": 2.5, "f": None}}
    assert numbers(row) == {"a": 1.0, "e": 2.5}
