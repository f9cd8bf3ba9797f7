"""Hard token-wise fusion: after training every token takes either what the mixer read or what it made of it.

"Looking to Learn: Token-wise Dynamic Gating for Low-Resource Vision-Language Modelling" (2025), per token and hard. The
paper's Gumbel noise and falling temperature are left out: training is soft, evaluation takes the larger side. Both are
computed, so no time is saved.

    u, c [B,T,C] what the mixer read and wrote;  g = sigmoid(W [u; c] + b) [B,T,1], in evaluation 1 if above 1/2, else 0
"""

from torch import Tensor

from nas.gates import token_fusion


class Gate(token_fusion.Fusion):
    """One factor per token, zero or one in evaluation."""

    def shares_of(self, logits: Tensor) -> Tensor:
        """Soft while training, one-hot after."""
        soft = logits.sigmoid()
        return soft if self.training else (logits > 0).to(soft.dtype)
