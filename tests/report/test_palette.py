from nas import operators
from nas.report import palette
from nas.report.palette import COLOURS, SPARE, assigned, contrast


def test_every_family_of_this_version_has_its_own_colour_and_letter() -> None:
    names = set(operators.families().values()) | set(COLOURS)
    found = [palette.paint(name) for name in sorted(names)]
    assert len({paint.colour for paint in found}) == len({paint.letter for paint in found}) == len(names)


def test_a_new_family_gets_a_colour_that_others_do_not_move() -> None:
    alone = assigned(["recurrent_memory"])["recurrent_memory"]
    assert alone.colour in SPARE
    for more in (["zeta"], ["zeta", "theta"]):
        assert assigned(["recurrent_memory", *more])["recurrent_memory"].colour == alone.colour


def test_new_families_differ_among_themselves_and_run_out_without_an_error() -> None:
    names = [f"family{i}" for i in range(len(SPARE))]
    found = assigned(names)
    assert len({found[name].colour for name in names}) == len(SPARE)
    assert len({found[name].letter for name in names}) == len(SPARE)
    assert len(assigned([f"x{i}" for i in range(40)])) == 40 + len(COLOURS)


def test_letters_and_cells_read_on_every_fill() -> None:
    for paint in assigned(["a", "b", "c", "d", "e", "f", "g", "h"]).values():
        assert contrast(paint.colour, paint.ink) >= 4.5, paint


def test_contrast_of_known_pairs() -> None:
    assert contrast("#000000", "#ffffff") == 21.0
    assert contrast("#777777", "#777777") == 1.0
    assert abs(contrast("#767676", "#ffffff") - 4.54) < 0.01


def test_unknown_names_are_drawn_as_unknown() -> None:
    assert palette.paint("</script>") == palette.paint("unknown")
