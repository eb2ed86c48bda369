"""The loss that the detector learns from: which cells answer for which figure, and how wrong they are. Needs torch."""

import torch
from torch import Tensor
from torch.nn import functional

from training.network import STRIDES

CANDIDATES = 9
SIZES = ((0, 128), (64, 4096))  # longer sides, in pixels, that the cells of each stride answer for


def flatten(grids: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes [N, A, 4] as corners in pixels, class logits [N, A, C], middles [A, 2] and levels [A]."""
    boxes, logits, middles, levels = [], [], [], []
    for grid, stride in zip(grids, STRIDES, strict=True):
        height, width = grid.shape[2:]
        row, column = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        middle = torch.stack((column, row), -1).view(-1, 2) * stride
        raw = grid.float().flatten(2).transpose(1, 2)
        sides = torch.exp(raw[..., :4].clamp(-4, 4)) * stride
        boxes.append(torch.cat((middle - sides[..., :2], middle + sides[..., 2:]), -1))
        logits.append(raw[..., 4:])
        middles.append(middle)
        levels.append(torch.full((len(middle),), STRIDES.index(stride)))
    return torch.cat(boxes, 1), torch.cat(logits, 1), torch.cat(middles), torch.cat(levels)


def overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union, and its generalised form, of boxes given as corners (broadcast)."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - shared + 1e-6
    iou = shared / union
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1) + 1e-6
    return iou, iou - (hull - union) / hull


def assign(
    boxes: Tensor, scores: Tensor, middles: Tensor, levels: Tensor, truth: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Which figure each cell answers for [N, A] (-1: none), and how well it should score [N, A].

    Of the cells of a fitting stride whose middle lies in a figure, those do that are near its middle and agree best
    with it in class and place. `truth` is
    [N, G, 4] corners, `labels` [N, G], -1 where there is no figure.
    """
    known = labels >= 0
    inside = torch.cat((middles[None, None] - truth[:, :, None, :2], truth[:, :, None, 2:] - middles[None, None]), -1)
    longer = (truth[..., 2:] - truth[..., :2]).amax(-1)[..., None]
    least, most = torch.tensor(SIZES)[levels].unbind(1)
    open_ = (inside.amin(-1) > 0.01) & known[..., None] & (longer >= least) & (longer <= most)
    extent = (truth[..., 2:] - truth[..., :2]).clamp(min=1.0)[:, :, None]
    away = ((middles[None, None] - (truth[..., :2] + truth[..., 2:])[:, :, None] / 2) / extent).square().sum(-1)
    iou, _ = overlap(truth[:, :, None], boxes[:, None])
    iou = iou.clamp(0, 1) * open_
    index = labels.clamp(min=0)[..., None, None].expand(-1, -1, scores.shape[1], 1)
    chosen = scores[:, None].expand(-1, labels.shape[1], -1, -1).gather(3, index)[..., 0]
    fit = (chosen.sqrt() * (iou + 0.05).pow(4) * torch.exp(-8 * away) + 1e-9) * open_
    best = fit.topk(CANDIDATES, -1).indices
    kept = torch.zeros_like(open_).scatter_(-1, best, True) & open_
    owner_iou, owner = (iou + 1e-6 * kept).masked_fill(~kept, -1.0).max(1)
    own = owner_iou >= 0
    mine = torch.nn.functional.one_hot(owner, labels.shape[1]).transpose(1, 2).bool() & own[:, None]
    fit, iou = fit * mine, iou * mine
    quality = (fit / fit.amax(-1, keepdim=True).clamp(min=1e-9) * iou.amax(-1, keepdim=True).clamp(min=0.2)).amax(1)
    return torch.where(own, owner, -1), quality


def loss(grids: list[Tensor], truth: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch, and its parts for the log."""
    boxes, logits, middles, levels = flatten(grids)
    with torch.no_grad():
        owner, quality = assign(boxes, logits.sigmoid(), middles, levels, truth, labels)
    target = torch.zeros_like(logits)
    image, cell = torch.nonzero(owner >= 0, as_tuple=True)
    figure = owner[image, cell]
    weight = quality[image, cell]
    target[image, cell, labels[image, figure]] = weight
    total = target.sum().clamp(min=1.0)
    score_loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="sum") / total
    _, generalised = overlap(boxes[image, cell], truth[image, figure])
    box_loss = ((1 - generalised) * weight).sum() / total
    return score_loss + 2.5 * box_loss, {"score": score_loss.item(), "box": box_loss.item()}
