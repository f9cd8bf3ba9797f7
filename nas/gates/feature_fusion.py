"""Feature-wise fusion: every channel of every token chooses between what the mixer read and what it made of it.

"Looking to Learn: Token-wise Dynamic Gating for Low-Resource Vision-Language Modelling" (2025), per feature and soft.

    u, c [B,T,C] what the mixer read and wrote;  g = sigmoid(W [u; c] + b) [B,T,C];  out = g u + (1 - g) c
"""

from nas.gates.token_fusion import Fusion


class Gate(Fusion):
    """2 C^2 + C weights, so it costs about as much as two of the four maps of attention."""

    @classmethod
    def factors(cls, embed_dim: int) -> int:
        """One per channel."""
        return embed_dim
