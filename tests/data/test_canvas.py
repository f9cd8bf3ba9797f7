"""Images placed on a larger canvas: nothing of them is lost, and places are fixed."""

import pytest
import torch

from nas import data
from nas.data import DataConfig
from nas.data.canvas import placed
from nas.errors import ConfigError


def test_every_image_is_whole_somewhere_and_all_places_occur() -> None:
    images = torch.randint(1, 256, (400, 2, 3, 5), dtype=torch.uint8)
    found = placed(images, 7, seed=0)
    assert found.shape == (400, 2, 7, 7)
    assert found.dtype == torch.uint8
    there = found[:, 0] > 0
    corners = {(int(rows[0]), int(columns[0])) for rows, columns in (mask.nonzero(as_tuple=True) for mask in there)}
    assert corners == {(row, column) for row in range(5) for column in range(3)}
    assert torch.equal(found.permute(0, 2, 3, 1)[there], images.permute(0, 2, 3, 1).reshape(-1, 2))
    assert torch.equal(found, placed(images, 7, seed=0))
    assert not torch.equal(found, placed(images, 7, seed=1))


def test_a_canvas_of_the_images_own_size_changes_nothing() -> None:
    images = torch.randint(0, 256, (9, 1, 4, 4), dtype=torch.uint8)
    assert torch.equal(placed(images, 4, seed=3), images)


def test_digits_on_a_canvas() -> None:
    plain, moved = data.load(DataConfig(name="digits")), data.load(DataConfig(name="digits", canvas=12))
    assert (moved.shape.height, moved.shape.width) == (12, 12)  # type: ignore[union-attr]
    assert moved.digest != plain.digest
    for before, after in ((plain.train, moved.train), (plain.val, moved.val), (plain.test, moved.test)):
        assert after.inputs.shape == (len(before), 1, 12, 12)
        assert torch.equal(after.targets, before.targets)
        assert torch.equal(after.inputs.sum((1, 2, 3)), before.inputs.sum((1, 2, 3)))


def test_what_cannot_be_placed_says_why() -> None:
    with pytest.raises(ConfigError, match=r"data\.canvas .*: 7 is below their 8 x 8; use 12 or more"):
        data.load(DataConfig(name="digits", canvas=7))
    with pytest.raises(ConfigError, match=r"data\.canvas is for images.*leave it null, got 40"):
        data.load(DataConfig(name="recall", canvas=40))
