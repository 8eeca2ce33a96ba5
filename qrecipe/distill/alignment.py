"""Distribution alignment of decoder queries (Q-DETR eq. 2.32)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import CalibrationError

AlignmentMode = Literal["on", "off", "observe"]

EPS = 1e-5
"""Added to the variance. Source: Q-DETR eq. 2.32."""

CONSTANT = 1e-10
"""A channel's variance below this share of its group's mean square is rounding noise: the channel is constant."""


class QueryAlignment(nn.Module):
    """``q* = (q - mean(q)) / sqrt(var(q) + 1e-5) * gamma + beta``, with the population variance.

    Modes: ``on`` aligns; ``off`` returns the query untouched; ``observe`` returns it untouched as well and adds to the
    sums from which :meth:`fit` finds gamma and beta. train() and eval() make no difference.

    Args:
        name: where it stands, for messages: the module path of the attention.
        heads, head_dim: how the query's channels divide.
        per: ``head`` standardises the head_dim channels of one head of one query; ``query`` all channels of one query.
        layout: of the query: ``bhld`` is (batch, heads, queries, head_dim), ``bld`` (batch, queries, heads * head_dim).

        blended: whether the query is ``q + g (q* - q)`` with a learned g, which begins with 0.

    Attributes:
        gamma, beta: (heads, head_dim).
        blend: g, (heads, 1) or, ``per`` query, (1, 1); None where the query is q* itself.
        residual: relative squared error of q* against q on the observed data, ``sum|q* - q|^2 / sum|q|^2``, for the
            gamma and beta last set by ``fit`` or ``initialise``; None where no data was seen.

    Raises:
        ValueError: an unknown ``per``, ``layout`` or mode, or a query of another shape.

    Source: Q-DETR (arXiv 2304.00253), eq. 2.32.
    """

    def __init__(
        self,
        name: str,
        heads: int,
        head_dim: int,
        per: Literal["head", "query"],
        layout: Literal["bhld", "bld"],
        blended: bool = False,
    ) -> None:
        super().__init__()
        if per not in ("head", "query"):
            raise ValueError(f"per is head or query, not {per!r}")
        if layout not in ("bhld", "bld"):
            raise ValueError(f"layout is bhld or bld, not {layout!r}")
        self.name = name
        self.heads = heads
        self.head_dim = head_dim
        self.per = per
        self.layout = layout
        self.gamma = nn.Parameter(torch.ones(heads, head_dim))
        self.beta = nn.Parameter(torch.zeros(heads, head_dim))
        self.blend = nn.Parameter(torch.zeros(heads if per == "head" else 1, 1)) if blended else None
        self.residual: float | None = None
        self._mode: AlignmentMode = "on"
        # Plain attributes, not buffers: `.float()` would round buffers and DDP would overwrite them with rank 0's.
        self._sums: Tensor | None = None
        self._seen = 0

    @property
    def mode(self) -> AlignmentMode:
        return self._mode

    @mode.setter
    def mode(self, mode: AlignmentMode) -> None:
        if mode not in ("on", "off", "observe"):
            raise ValueError(f"mode is on, off or observe, not {mode!r}")
        self._mode = mode

    def forward(self, query: Tensor) -> Tensor:
        """The query in the constructor's layout; the same shape and dtype come back."""
        if self._mode == "off":
            return query
        split = self._split(query)
        standard = self._standardise(split)
        if self._mode == "observe":
            self._observe(split.detach(), standard.detach())
            return query
        aligned = standard * self.gamma + self.beta
        if self.blend is not None:
            aligned = split + self.blend * (aligned - split)
        return self._join(aligned).to(query.dtype)

    def reset(self) -> None:
        """Forget what was observed. Call it before observing other data."""
        self._sums = None
        self._seen = 0

    def initialise(self, how: Literal["fit", "identity"]) -> None:
        """Set gamma and beta: ``fit`` by least squares, ``identity`` to 1 and 0. Both set the residual.

        Raises:
            CalibrationError: as :meth:`fit`.
            ValueError: any other ``how``.
        """
        if how == "fit":
            self.fit()
        elif how == "identity":
            self._set(torch.ones_like(self.gamma), torch.zeros_like(self.beta))
        else:
            raise ValueError(f"initialise with fit or identity, not {how!r}")

    def fit(self) -> None:
        """Set gamma and beta to the least squares of q on the standardised q, per head and channel.

        A channel whose standardised value never varies gets gamma 1 and the mean of what is left as beta.
        The sums are this process's own and stay until :meth:`reset`.

        Raises:
            CalibrationError: nothing was observed, or it was not finite.
        """
        if self._sums is None or self._seen == 0:
            raise CalibrationError(
                "the query alignment saw no data",
                where=self.name,
                remedy="run calibration batches through the student, or use init: identity",
            )
        if not bool(self._sums.isfinite().all()):
            raise CalibrationError(
                "the queries to align are not finite",
                where=self.name,
                remedy="look at the model's weights and the calibration images",
            )
        mean_s, mean_q, var_s, _, covariance, square = self._moments(self._sums)
        scale = square.mean(-1, keepdim=True) if self.per == "head" else square.mean()
        constant = var_s <= CONSTANT * scale
        gamma = torch.where(constant, 1.0, covariance / torch.where(constant, 1.0, var_s))
        self._set(gamma, mean_q - gamma * mean_s)

    def extra_repr(self) -> str:
        return f"{self.name!r}, heads={self.heads}, head_dim={self.head_dim}, per={self.per}, layout={self.layout}" + (
            ", blended" if self.blend is not None else ""
        )

    def _split(self, query: Tensor) -> Tensor:
        """A view (batch, queries, heads, head_dim), in float32 at least."""
        if self.layout == "bhld":
            fits = query.ndim == 4 and query.shape[1] == self.heads and query.shape[3] == self.head_dim
        else:
            fits = query.ndim == 3 and query.shape[2] == self.heads * self.head_dim
        if not fits:
            raise ValueError(f"a query of shape {tuple(query.shape)} does not fit the alignment {self.extra_repr()}")
        if self.layout == "bhld":
            split = query.transpose(1, 2)
        else:
            split = query.reshape(query.shape[0], query.shape[1], self.heads, self.head_dim)
        return split.float() if split.dtype in (torch.float16, torch.bfloat16) else split

    def _join(self, split: Tensor) -> Tensor:
        return split.transpose(1, 2) if self.layout == "bhld" else split.flatten(-2)

    def _standardise(self, split: Tensor) -> Tensor:
        dims = (-1,) if self.per == "head" else (-2, -1)
        centred = split - split.mean(dims, keepdim=True)
        return centred * torch.rsqrt(centred.square().mean(dims, keepdim=True) + EPS)

    def _observe(self, split: Tensor, standard: Tensor) -> None:
        """Add to the five sums (5, heads, head_dim), float64: s, q, s^2, q^2, s q."""
        q = split.double().flatten(0, -3)
        s = standard.double().flatten(0, -3)
        sums = torch.stack([x.sum(0) for x in (s, q, s * s, q * q, s * q)])
        self._sums = sums if self._sums is None else self._sums.to(sums.device) + sums
        self._seen += q.shape[0]

    def _moments(self, sums: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Means of s and q, variances of s and q, their covariance, and the mean of s^2; each (heads, head_dim)."""
        mean_s, mean_q, square_s, square_q, product = (sums / self._seen).unbind(0)
        var_s = (square_s - mean_s**2).clamp(min=0)
        var_q = (square_q - mean_q**2).clamp(min=0)
        return mean_s, mean_q, var_s, var_q, product - mean_s * mean_q, square_s

    @torch.no_grad()
    def _set(self, gamma: Tensor, beta: Tensor) -> None:
        self.gamma.copy_(gamma)
        self.beta.copy_(beta)
        if self._sums is None or self._seen == 0:
            self.residual = None
            return
        # From the parameters as they were rounded, and from centred moments: the plain sums would cancel.
        gamma, beta = self.gamma.to(self._sums), self.beta.to(self._sums)
        mean_s, mean_q, var_s, var_q, covariance, _ = self._moments(self._sums)
        bias = gamma * mean_s + beta - mean_q
        errors = gamma**2 * var_s - 2 * gamma * covariance + var_q + bias**2
        error = (errors if self.blend is None else errors * self.blend.to(errors) ** 2).sum().clamp(min=0)
        energy = self._sums[3].sum() / self._seen
        self.residual = float(error / energy) if energy != 0 else float(error)
