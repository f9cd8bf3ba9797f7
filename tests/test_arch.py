import copy
import pickle

import pytest

from nas.arch import OFF, Arch, BlockArch, FfnArch, OperatorArch, StageArch, describe
from nas.errors import ArchError

BLOCK = BlockArch(
    OperatorArch.of("window", num_heads=4, num_kv_heads=2, head_dim=16, window_size=32), FfnArch("mlp", 2)
)
ARCH = Arch((StageArch(48, (BLOCK, OFF, BLOCK)),))


def test_json_both_ways() -> None:
    assert Arch.from_json(ARCH.to_json()) == ARCH
    assert Arch.from_json(ARCH.to_json()).digest == ARCH.digest


def test_knob_order_does_not_matter() -> None:
    assert OperatorArch.of("x", a=1, b=2) == OperatorArch.of("x", b=2, a=1)


def test_trailing_off_blocks_do_not_exist() -> None:
    assert StageArch.of(48, (BLOCK, OFF, OFF)) == StageArch(48, (BLOCK,))
    with pytest.raises(ArchError, match="trailing"):
        StageArch(48, (BLOCK, OFF))


def test_what_does_not_exist_cannot_be_written() -> None:
    with pytest.raises(ArchError, match="gate"):
        BlockArch(OperatorArch("none"), gate="cbam")
    with pytest.raises(ArchError, match="ratio"):
        FfnArch("mlp", 0)
    with pytest.raises(ArchError, match="ratio"):
        FfnArch("none", 2)


def test_pickle_and_copy_keep_value_hash_and_digest() -> None:
    for other in (pickle.loads(pickle.dumps(ARCH)), copy.deepcopy(ARCH)):
        assert other == ARCH and hash(other) == hash(ARCH) and other.digest == ARCH.digest


def test_digest_is_stable_across_versions() -> None:
    assert ARCH.digest == "be688095a470de55"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"stages": 3}', '{"stages": [{"blocks": []}]}'])
def test_bad_json_says_what_was_expected(text: str) -> None:
    with pytest.raises(ArchError, match="expected"):
        Arch.from_json(text)


def test_describe_names_operator_heads_and_ffn() -> None:
    assert describe(BLOCK) == "window h4/2 head_dim=16 window_size=32 | mlp x2"
