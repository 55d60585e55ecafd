"""Networks of other people's design, as ONNX files that torch wrote: what no builder of latency tables has in mind.

Each is a small network in the manner of a published one, of random width and depth, exported with a batch of any size:
the files hold what exporters make of such networks (shapes computed at run time, reshapes, constants), not what
`hw_cost.networks` writes. Beside them stand the full-size networks that the onnx package brings along as test data.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

SIZE = 32
"""Height and width of images."""


class Sum(nn.Module):
    """x + f(x)."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum."""
        total: Tensor = x + self.body(x)
        return total


class Joined(nn.Module):
    """Outputs of several modules, or of the input itself, one after the other in the channels."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        """Return the parts as one."""
        return torch.cat([part(x) for part in self.parts], dim=1)


class Turned(nn.Module):
    """A module on the transposed last two axes."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Return the output, turned back."""
        turned: Tensor = self.body(x.transpose(1, 2)).transpose(1, 2)
        return turned


class Shuffled(nn.Module):
    """Channels of the groups in turn (Zhang et al. 2018, ShuffleNet, figure 1)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Return the shuffled channels."""
        n, c, h, w = x.shape
        return x.reshape(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class Attention(nn.Module):
    """Attention by one product for queries, keys and values (as Dosovitskiy et al. 2021 do)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return mixed tokens."""
        n, t, d = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        weights = functional.softmax(q @ k.transpose(-2, -1) * (d // self.heads) ** -0.5, dim=-1)
        mixed: Tensor = self.out((weights @ v).transpose(1, 2).reshape(n, t, d))
        return mixed


class Patches(nn.Module):
    """An image as tokens."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, size, size)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, tokens, width)``."""
        tokens: Tensor = self.conv(x).flatten(2).transpose(1, 2)
        return tokens


class MeanOfTokens(nn.Module):
    """Mean over tokens."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, width)``."""
        return x.mean(dim=1)


def _conv(n_in: int, n_out: int, window: int = 3, stride: int = 1, groups: int = 1, act: Any = nn.ReLU) -> nn.Module:
    conv = nn.Conv2d(n_in, n_out, window, stride, window // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(n_out), *([act()] if act else []))


def _head(width: int, outputs: int = 10) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, outputs)]


def vgg(random: np.random.Generator) -> nn.Module:
    """Return stacks of convolutions and three dense layers (Simonyan & Zisserman 2015)."""
    layers, n_in, width = [], 3, int(random.integers(12, 48))
    for stage in range(3):
        for _ in range(int(random.integers(1, 3))):
            layers.append(_conv(n_in, width * 2**stage))
            n_in = width * 2**stage
        layers.append(nn.MaxPool2d(2))
    dense = [nn.Flatten(), nn.Linear(n_in * 16, 256), nn.ReLU(), nn.Dropout(), nn.Linear(256, 10)]
    return nn.Sequential(*layers, *dense)


def squeezenet(random: np.random.Generator) -> nn.Module:
    """Return fire modules (Iandola et al. 2016)."""
    layers, n_in = [nn.Conv2d(3, 64, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)], 64
    for k in range(int(random.integers(3, 7))):
        squeeze, expand = 8 * int(random.integers(1, 5)), 32 * int(random.integers(1, 4))
        parts = Joined(
            nn.Sequential(nn.Conv2d(squeeze, expand, 1), nn.ReLU()),
            nn.Sequential(nn.Conv2d(squeeze, expand, 3, padding=1), nn.ReLU()),
        )
        layers += [nn.Conv2d(n_in, squeeze, 1), nn.ReLU(), parts]
        layers += [nn.MaxPool2d(3, 2, ceil_mode=True)] if k == 2 else []
        n_in = 2 * expand
    return nn.Sequential(*layers, nn.Conv2d(n_in, 10, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def shufflenet(random: np.random.Generator) -> nn.Module:
    """Return grouped convolutions with shuffled channels (Zhang et al. 2018)."""
    groups, width = int(random.choice([2, 4])), 8 * int(random.integers(4, 16))
    layers: list[nn.Module] = [_conv(3, width, 3, 2)]
    for _ in range(int(random.integers(2, 6))):
        body = (
            *(_conv(width, width, 1, groups=groups), Shuffled(groups)),
            *(_conv(width, width, 3, groups=width, act=None), _conv(width, width, 1, groups=groups, act=None)),
        )
        layers += [Sum(*body), nn.ReLU()]
    return nn.Sequential(*layers, *_head(width))


def densenet(random: np.random.Generator) -> nn.Module:
    """Return blocks in which every layer sees all before it (Huang et al. 2017)."""
    growth, n_in = int(random.integers(8, 32)), 32
    layers: list[nn.Module] = [_conv(3, n_in, 3, 1)]
    for _ in range(2):
        for _ in range(int(random.integers(2, 5))):
            fresh = nn.Sequential(
                *(nn.BatchNorm2d(n_in), nn.ReLU(), nn.Conv2d(n_in, 4 * growth, 1)),
                *(nn.BatchNorm2d(4 * growth), nn.ReLU(), nn.Conv2d(4 * growth, growth, 3, padding=1)),
            )
            layers.append(Joined(nn.Identity(), fresh))
            n_in += growth
        layers += [nn.BatchNorm2d(n_in), nn.ReLU(), nn.Conv2d(n_in, n_in // 2, 1), nn.AvgPool2d(2)]
        n_in //= 2
    return nn.Sequential(*layers, *_head(n_in))


def inception(random: np.random.Generator) -> nn.Module:
    """Return convolutions of several windows side by side (Szegedy et al. 2015)."""
    n_in, layers = 32, [_conv(3, 32, 3, 2)]
    for _ in range(int(random.integers(2, 5))):
        a, b, c = (8 * int(random.integers(1, 8)) for _ in range(3))
        branches = (
            *(_conv(n_in, a, 1), nn.Sequential(_conv(n_in, b // 2, 1), _conv(b // 2, b, 3))),
            nn.Sequential(_conv(n_in, c // 2, 1), _conv(c // 2, c, 5)),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), _conv(n_in, a, 1)),
        )
        layers.append(Joined(*branches))
        n_in = 2 * a + b + c
    return nn.Sequential(*layers, *_head(n_in))


def convnext(random: np.random.Generator) -> nn.Module:
    """Return wide depthwise convolutions between pointwise ones (after Liu et al. 2022; batch norm as in ConvMixer)."""
    width = 16 * int(random.integers(2, 9))
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 4)]
    for _ in range(int(random.integers(2, 7))):
        body = (nn.Conv2d(width, width, 7, padding=3, groups=width), nn.BatchNorm2d(width))
        layers.append(Sum(*body, nn.Conv2d(width, 4 * width, 1), nn.GELU(), nn.Conv2d(4 * width, width, 1)))
    return nn.Sequential(*layers, *_head(width))


def mixer(random: np.random.Generator) -> nn.Module:
    """Return perceptrons over tokens and over channels in turn (Tolstikhin et al. 2021)."""
    width, tokens = 16 * int(random.integers(2, 12)), (SIZE // 4) ** 2
    layers: list[nn.Module] = [Patches(width, 4)]
    for _ in range(int(random.integers(2, 6))):
        over_tokens = nn.Sequential(nn.Linear(tokens, 64), nn.GELU(), nn.Linear(64, tokens))
        over_channels = (nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        layers += [Sum(nn.LayerNorm(width), Turned(over_tokens)), Sum(nn.LayerNorm(width), *over_channels)]
    return nn.Sequential(*layers, nn.LayerNorm(width), MeanOfTokens(), nn.Linear(width, 10))


def vit(random: np.random.Generator) -> nn.Module:
    """Return a transformer on patches of an image (Dosovitskiy et al. 2021)."""
    heads = int(random.choice([2, 4]))
    width = 16 * heads * int(random.integers(1, 4))
    layers: list[nn.Module] = [Patches(width, int(random.choice([4, 8])))]
    for _ in range(int(random.integers(2, 6))):
        forward = (nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        layers += [Sum(nn.LayerNorm(width), Attention(width, heads)), Sum(nn.LayerNorm(width), *forward)]
    return nn.Sequential(*layers, nn.LayerNorm(width), MeanOfTokens(), nn.Linear(width, 10))


def swish_mlp(random: np.random.Generator) -> nn.Module:
    """Return a perceptron with SiLU, batch norm and skips, on 64 columns."""
    width = int(random.integers(32, 400))
    layers: list[nn.Module] = [nn.Linear(64, width)]
    for _ in range(int(random.integers(1, 6))):
        layers.append(Sum(nn.BatchNorm1d(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)))
    return nn.Sequential(*layers, nn.Linear(width, 5), nn.Softmax(dim=-1))


DESIGNS: dict[str, Callable[[np.random.Generator], nn.Module]] = {
    design.__name__: design
    for design in (vgg, squeezenet, shufflenet, densenet, inception, convnext, mixer, vit, swish_mlp)
}


def foreign_networks(n: int, *, seed: int = 0) -> dict[str, bytes]:
    """Return name -> ONNX file of `n` networks, the designs in turn."""
    files = {}
    for k in range(n):
        name = list(DESIGNS)[k % len(DESIGNS)]
        torch.manual_seed(seed + k)
        module = DESIGNS[name](np.random.default_rng([seed, k])).eval()
        example = torch.randn(2, 64) if name == "swish_mlp" else torch.randn(2, 3, SIZE, SIZE)
        files[f"{name}-{k}"] = _exported(module, example)
    return files


def _exported(module: nn.Module, example: Tensor) -> bytes:
    with warnings.catch_warnings(), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        path, axes = Path(folder) / "network.onnx", {"x": {0: "batch"}}
        torch.onnx.export(
            module, (example,), path, dynamo=False, dynamic_axes=axes, input_names=["x"], opset_version=17
        )
        return path.read_bytes()


def published_networks() -> dict[str, Path]:
    """Return name -> file of the full-size networks among the onnx package's test data; they take batches of 1."""
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    return {path.stem.removeprefix("light_"): path for path in sorted(folder.glob("*.onnx"))}
