"""The demonstration detector's network: plain convolutions, one stage, no anchor boxes. Needs torch (extra `train`).

Two grids look at the image, with cells of 16 and 32 pixels. Each cell gives one box, as the distances from its
middle to the box's four sides, and one score a class.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES = (16, 32)


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

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.near = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 24, 6, 4, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU(inplace=True)),
            conv(24, 48, 3, 2),
            conv(48, 96, 3, 2),
            Residual(96),
            Residual(96),
        )
        self.far = nn.Sequential(conv(96, 160, 3, 2), Residual(160), Residual(160), Surroundings(160))
        self.from_far, self.from_near, self.join = conv(160, 64, 1), conv(96, 64, 1), conv(64, 64)
        self.heads = nn.ModuleList(nn.Sequential(conv(64, 64), nn.Conv2d(64, 4 + classes, 1)) for _ in STRIDES)
        for head in self.heads:
            last = head[-1]
            assert isinstance(last, nn.Conv2d) and last.bias is not None
            nn.init.normal_(last.weight, std=0.01)
            with torch.no_grad():
                last.bias[:4] = 1.0
                last.bias[4:] = -5.0

    def grids(self, images: Tensor) -> list[Tensor]:
        """The raw answer of each grid: [N, 4 + classes, H / stride, W / stride]."""
        near = self.near(images)
        far = self.from_far(self.far(near))
        near = self.join(self.from_near(near) + functional.interpolate(far, scale_factor=2.0, mode="nearest"))
        return [head(x) for head, x in zip(self.heads, (near, far), strict=True)]

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
