"""Cards and papers as text for a terminal."""

from collections.abc import Sequence

from nas.catalogue.beside import Timed
from nas.catalogue.cards import Card, Figures, Shape
from nas.catalogue.papers import Form, Paper

WORDS = {"ffn": "FFN", "code": "part", "stage": "stage"}


def listed(found: Sequence[Card]) -> str:
    """All operators by family: where each is legal (image, sequence, causal) and what it is."""
    lines, width = [], max(len(card.name) for card in found)
    for family in dict.fromkeys(card.family for card in found):
        lines.append(f"\n{family}")
        for card in (card for card in found if card.family == family):
            where = "".join(domain[0] if domain in card.domains else "." for domain in ("image", "sequence", "causal"))
            lines.append(f"  {card.name:<{width}}  {where}  {_short(card.headline)}")
    lines.append(f"\n{len(found)} operators; i image, s sequence, c causal. `nas operators NAME` shows one.")
    return "\n".join(lines)


def shown(card: Card, shape: Shape, costs: Sequence[Figures], times: Sequence[Timed]) -> str:
    """One operator: its text, where it is legal, costs of its choices at the shape, times, papers, a snippet."""
    site = card.site(shape)
    lines = [f"{card.name} · family {card.family} · legal in {', '.join(card.domains)}", "", card.text, ""]
    if card.consumes:
        lines += [f"Reads {', '.join(sorted(card.consumes))} that an earlier block of its stage published.", ""]
    lines.append(
        f"At {site.tokens} tokens, width {site.embed_dim}, {shape.heads} heads of {shape.head_dim}, {site.domain}"
        + (", one thread of this machine:" if times else "; timed=true measures it beside softmax:")
    )
    lines += ["", *_table(card, costs, times)]
    if card.papers:
        lines += ["", "Sources: " + "; ".join(_cited(paper) for paper in card.papers)]
    return "\n".join([*lines, "", "In a search space, under `operators:`", f"  {card.snippet}"])


def _table(card: Card, costs: Sequence[Figures], times: Sequence[Timed]) -> list[str]:
    own = list(card.suggested)
    heads = [*own, "params", "MFLOPs", "KV cache, kB", "rank", "sparsity", *(["ms", "x softmax"] if times else [])]
    rows = [heads]
    for i, cost in enumerate(costs):
        row = [str(cost.arch[knob]) for knob in own]
        row += [f"{cost.params:,}", f"{cost.flops / 1e6:,.1f}", f"{cost.kv_cache_bytes / 1e3:,.1f}"]
        row += [str(cost.rank), f"{cost.sparsity:.2f}"]
        if times:
            half = (times[i].high_ms - times[i].low_ms) / 2
            row += [f"{times[i].ms:.2f} ± {half:.2f}", f"{times[i].over_softmax:.2f}"]
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]


def papers_listed(found: Sequence[Paper]) -> str:
    """All papers: id, year, and the forms in which each works; the count at the end."""
    width = max(len(paper.id) for paper in found)
    lines = [f"{paper.id:<{width}}  {paper.year or '    '}  {_forms(paper)}" for paper in found]
    done = sum(not paper.is_open for paper in found)
    lines.append(f"\n{done} of {len(found)} papers work here. `nas papers ID` says how, and how to see it.")
    return "\n".join(lines)


def paper_shown(paper: Paper) -> str:
    """One paper: how it works here and the commands that show it."""
    lines = [_cited(paper), "", f"works as: {_forms(paper)}"]
    lines += [paper.note] if paper.note else []
    if paper.commands:
        lines += ["", "to see it:", *(f"  {command}" for command in paper.commands)]
    return "\n".join(lines)


def _forms(paper: Paper) -> str:
    return ", ".join(map(_form, paper.forms)) or "open"


def _form(form: Form) -> str:
    return f"{WORDS.get(form.kind, form.kind)} {form.name}"


def _cited(paper: Paper) -> str:
    return f'"{paper.title}"' + (f" ({paper.year})" if paper.year else "")


def _short(text: str, most: int = 96) -> str:
    return text if len(text) <= most else text[: most - 1].rsplit(" ", 1)[0] + "…"
