"""What the product offers, as users meet it: operators as cards, and the papers behind everything."""

from nas.catalogue.cards import Card, cards
from nas.catalogue.papers import Paper, papers

__all__ = ["Card", "Paper", "cards", "papers"]
