"""The demonstration detector's network: plain convolutions, one stage, no anchor boxes. Needs torch (extra `train`).

Three grids look at the image, with cells of 8, 16 and 32 pixels. Each cell gives one box, as the distances from its
middle to the box's four sides, and one score a class.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES = (8, 16, 32)


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution, its normalisation and its rectifier."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):  # type: ignore[misc, unused-ignore]
    """Narrows by half, looks around, and adds what it saw."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(channels, channels // 2, 1), conv(channels // 2, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`."""
        return x + self.body(x)


class Surroundings(nn.Module):  # type: ignore[misc, unused-ignore]
    """Lets each cell see far: the largest values of wider and wider windows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrow = conv(channels, channels // 2, 1)
        self.join = conv(channels * 2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`."""
        views = [self.narrow(x)]
        for _ in range(3):
            views.append(functional.max_pool2d(views[-1], 5, 1, 2))
        return self.join(torch.cat(views, 1))


class Detector(nn.Module):  # type: ignore[misc, unused-ignore]
    """From images float32 [N, 3, H, W] in 0 to 1 (H, W multiples of 32) to boxes and scores of all A cells."""

    def __init__(self, classes: int = 3, width: int = 16) -> None:
        super().__init__()
        w = width
        self.stem = nn.Sequential(
            nn.Conv2d(3, 2 * w, 6, 4, 1, bias=False), nn.BatchNorm2d(2 * w), nn.ReLU(inplace=True)
        )
        self.fine = nn.Sequential(conv(2 * w, 4 * w, 3, 2), Residual(4 * w))
        self.middle = nn.Sequential(conv(4 * w, 8 * w, 3, 2), Residual(8 * w), Residual(8 * w))
        self.coarse = nn.Sequential(
            conv(8 * w, 12 * w, 3, 2), Residual(12 * w), Residual(12 * w), Surroundings(12 * w)
        )
        n = 3 * w
        self.from_coarse, self.from_middle, self.from_fine = conv(12 * w, n, 1), conv(8 * w, n, 1), conv(4 * w, n, 1)
        self.mix_middle, self.mix_fine = conv(n, n), conv(n, n)
        self.down_middle, self.down_coarse = conv(n, n, 3, 2), conv(n, n, 3, 2)
        self.heads = nn.ModuleList(
            nn.Sequential(conv(n, 4 * w, 3), nn.Conv2d(4 * w, 4 + classes, 1)) for _ in STRIDES
        )
        for head in self.heads:
            last = head[-1]
            assert isinstance(last, nn.Conv2d) and last.bias is not None
            nn.init.normal_(last.weight, std=0.01)
            with torch.no_grad():
                last.bias[:4] = 1.0
                last.bias[4:] = -5.0

    def grids(self, images: Tensor) -> list[Tensor]:
        """The raw answer of each grid: [N, 4 + classes, H / stride, W / stride]."""
        fine = self.fine(self.stem(images))
        middle = self.middle(fine)
        deep = self.from_coarse(self.coarse(middle))
        m = self.mix_middle(self.from_middle(middle) + functional.interpolate(deep, scale_factor=2.0, mode="nearest"))
        f = self.mix_fine(self.from_fine(fine) + functional.interpolate(m, scale_factor=2.0, mode="nearest"))
        m = m + self.down_middle(f)
        deep = deep + self.down_coarse(m)
        return [head(x) for head, x in zip(self.heads, (f, m, deep), strict=True)]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes [N, A, 4] as (cx, cy, w, h) in pixels, and scores [N, A, classes] in 0 to 1."""
        boxes, scores = [], []
        for grid, stride in zip(self.grids(images), STRIDES, strict=True):
            height, width = grid.shape[2:]
            row = (torch.arange(height, device=grid.device, dtype=torch.float32) + 0.5).view(1, 1, height, 1)
            column = (torch.arange(width, device=grid.device, dtype=torch.float32) + 0.5).view(1, 1, 1, width)
            left, top, right, bottom = torch.exp(grid[:, :4].float().clamp(-4, 4)).split(1, 1)
            box = torch.cat((column + (right - left) / 2, row + (bottom - top) / 2, left + right, top + bottom), 1)
            boxes.append((box * stride).flatten(2).transpose(1, 2))
            scores.append(grid[:, 4:].float().flatten(2).transpose(1, 2))
        return torch.cat(boxes, 1), torch.cat(scores, 1).sigmoid()
