"""Recurrent and gated networks of sequences in miniature."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Recurrent(nn.Module):
    """A classifier by the last step of LSTM or GRU."""

    def __init__(self, kind: type[nn.LSTM | nn.GRU], *, both: bool) -> None:
        super().__init__()
        self.cells = kind(6, 8, num_layers=2, batch_first=True, bidirectional=both)
        self.head = nn.Linear(16 if both else 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[b, steps, 6] to [b, 3]."""
        return self.head(self.cells(x)[0][:, -1])


class GatedConvolutions(nn.Module):
    """GLU after each convolution (Dauphin et al., ICML 2017), with a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.convolutions = nn.ModuleList(nn.Conv1d(8, 16, 3, padding=1) for _ in range(2))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[b, steps, 6] to [b, 3]."""
        y = self.first(x).transpose(1, 2)
        for convolution in self.convolutions:
            y = y + functional.glu(convolution(y), dim=1)
        return self.head(y.mean(2))


class Highway(nn.Module):
    """A gate between the input and what a layer makes of it (Srivastava, Greff & Schmidhuber, 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.gate, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[b, 8] to [b, 3]."""
        share = torch.sigmoid(self.gate(x))
        return self.head(share * torch.relu(self.layer(x)) + (1 - share) * x)
