"""The authors' training step as a plain port to PyTorch has it: eager, channels first, float32.

Written from the description in docs/losses.md with what every tutorial uses: nn modules, Adam,
a DataLoader with workers, `loss.item()` in each step.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

NORM_EPS = 1e-3
CONTENT, TEXTURE, COLOUR, TV = 10.0, 1.0, 0.5, 2000.0
WORKERS = 2


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(64, 64, 3, padding=1)
        self.norm1 = nn.InstanceNorm2d(64, eps=NORM_EPS, affine=True)
        self.conv2 = nn.Conv2d(64, 64, 3, padding=1)
        self.norm2 = nn.InstanceNorm2d(64, eps=NORM_EPS, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y))) + x


class PlainGenerator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 64, 9, padding=4)
        self.blocks = nn.Sequential(*(Block() for _ in range(4)))
        self.conv1 = nn.Conv2d(64, 64, 3, padding=1)
        self.conv2 = nn.Conv2d(64, 64, 3, padding=1)
        self.last = nn.Conv2d(64, 3, 9, padding=4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(torch.relu(self.first(x)))
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        return 0.58 * torch.tanh(self.last(x)) + 0.5


class PlainDiscriminator(nn.Module):
    def __init__(self, patch_size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs, size = 1, patch_size
        for outputs, kernel, stride in (
            *((48, 11, 4), (128, 5, 2)),
            *((192, 3, 1), (192, 3, 1), (128, 3, 2)),
        ):
            layers += [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), nn.LeakyReLU(0.2)]
            if inputs > 1:
                layers.append(nn.InstanceNorm2d(outputs, eps=NORM_EPS, affine=True))
            inputs, size = outputs, (size - 1) // stride + 1
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.hidden = nn.Linear(inputs * size * size, 1024)
        self.output = nn.Linear(1024, 2)

    def forward(self, grey: Tensor) -> Tensor:
        return self.output(functional.leaky_relu(self.hidden(self.layers(grey)), 0.2))


class PlainVgg(nn.Module):
    """VGG-19 up to relu5_4 with the given kernels."""

    def __init__(self, convolutions: list[tuple[Tensor, Tensor]], layers: tuple) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        remaining = iter(convolutions)
        for layer in layers:
            if layer == "pool":
                parts.append(nn.MaxPool2d(2, ceil_mode=True))
                continue
            kernel, bias = next(remaining)
            conv = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1)
            conv.load_state_dict({"weight": kernel, "bias": bias})
            parts += [conv, nn.ReLU()]
        self.layers = nn.Sequential(*parts).requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image * 255 - 117.0)


class Patches(Dataset):
    """Patch pairs in memory, converted one by one, as a tutorial's dataset does it."""

    def __init__(self, phone: NDArray[np.uint8], dslr: NDArray[np.uint8]) -> None:
        self.phone, self.dslr = phone, dslr

    def __len__(self) -> int:
        return len(self.phone)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        phone, dslr = (
            torch.from_numpy(x[index]).permute(2, 0, 1).float() / 255
            for x in (self.phone, self.dslr)
        )
        return phone, dslr


class PlainPort:
    """Trains both networks; each call of `step` is one step of the authors' loop."""

    def __init__(
        self,
        phone: NDArray[np.uint8],
        dslr: NDArray[np.uint8],
        batch: int,
        vgg: PlainVgg,
        device: torch.device,
    ) -> None:
        self.device, self.batch, self.vgg = device, batch, vgg.to(device)
        self.generator = PlainGenerator().to(device)
        self.discriminator = PlainDiscriminator(phone.shape[1]).to(device)
        self.adam_g = torch.optim.Adam(self.generator.parameters(), 5e-4)
        self.adam_d = torch.optim.Adam(self.discriminator.parameters(), 5e-4)
        k = torch.arange(-10, 11) * 6 / 20
        taps = torch.exp(-k.square() / 4)
        blur = torch.outer(taps, taps) / taps.sum() ** 2
        self.blur = blur.expand(3, 1, 21, 21).contiguous().to(device)
        self.data = Patches(phone, dslr)
        self.batches = self._batches()

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        loader = DataLoader(
            self.data,
            self.batch,
            shuffle=True,
            drop_last=True,
            num_workers=WORKERS,
            persistent_workers=True,
            pin_memory=self.device.type == "cuda",
        )
        while True:
            for phone, dslr in loader:
                yield phone.to(self.device), dslr.to(self.device)

    def draw(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A batch for each of the two networks."""
        return *next(self.batches), *next(self.batches)

    def step(self, phone: Tensor, dslr: Tensor, phone_2: Tensor, dslr_2: Tensor) -> float:
        """Both networks learn once; returns the generator's loss."""
        enhanced = self.generator(phone)
        content = functional.mse_loss(self.vgg(enhanced), self.vgg(dslr))
        verdict = functional.log_softmax(self.discriminator(_grey(enhanced)), dim=1)
        texture = verdict[:, 0].sum()
        difference = functional.conv2d(enhanced - dslr, self.blur, padding=10, groups=3)
        colour = difference.square().sum() / 2 / len(phone)
        tv = (enhanced[:, :, :, 1:] - enhanced[:, :, :, :-1]).square().mean()
        tv = tv + (enhanced[:, :, 1:] - enhanced[:, :, :-1]).square().mean()
        loss = CONTENT * content + TEXTURE * texture + COLOUR * colour + TV * tv
        self.adam_g.zero_grad()
        loss.backward()
        self.adam_g.step()

        enhanced = self.generator(phone_2).detach()
        truth = torch.randint(0, 2, (len(phone_2),), device=self.device)
        shown = torch.where(truth[:, None, None, None] == 1, dslr_2, enhanced)
        loss_d = functional.cross_entropy(self.discriminator(_grey(shown)), truth)
        self.adam_d.zero_grad()
        loss_d.backward()
        self.adam_d.step()
        loss_d.item()
        return loss.item()


def _grey(image: Tensor) -> Tensor:
    weights = torch.tensor([0.2989, 0.587, 0.114], device=image.device)
    return (image * weights[:, None, None]).sum(1, keepdim=True)
