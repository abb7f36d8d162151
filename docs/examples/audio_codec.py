"""A small codec for synthesised sound: residual levels, and the quality that each one adds."""

import argparse
import math

import torch
from torch import Tensor, nn

from spinlock import LevelDropout, Regularizers, ResidualVQ, Shapes, Update

RATE = 4000  # samples per second
LEVELS, SIZE, STRIDE = 6, 64, 16


def sounds(count: int, seed: int, seconds: float = 0.256) -> Tensor:
    """[count, 1, samples]: plucked notes with a few decaying partials and a little noise."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: float, high: float, width: int = 1) -> Tensor:
        return low + (high - low) * torch.rand(count, width, generator=generator)

    time = torch.arange(int(seconds * RATE)) / RATE
    pitch, decay = draw(80, 400), draw(2, 20)
    partials, phases = draw(0, 1, 4) / torch.arange(1, 5), draw(0, 2 * math.pi, 4)
    wave = torch.zeros(count, len(time))
    for k in range(4):
        angle = 2 * math.pi * pitch * (k + 1) * time + phases[:, k : k + 1]
        wave += partials[:, k : k + 1] * torch.sin(angle)
    noise = torch.randn(wave.shape, generator=generator)
    return (wave * torch.exp(-decay * time) + 0.01 * noise)[:, None]


class Codec(nn.Module):
    """[batch, 1, samples] -> codes every 16 samples -> [batch, 1, samples]."""

    def __init__(self, width: int = 48, dim: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv1d(1, width, 9, padding=4), nn.GELU(),
            nn.Conv1d(width, width, 8, stride=4, padding=2), nn.GELU(),
            nn.Conv1d(width, dim, 8, stride=4, padding=2),
        )  # fmt: skip
        self.quantizer = ResidualVQ(
            dim,
            SIZE,
            LEVELS,
            update=Update(decay=0.97, expire_below=0.5),
            regularizers=Regularizers(commitment=0.25),
            dropout=LevelDropout(),
            shapes=Shapes(channels_first=True),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose1d(dim, width, 8, stride=4, padding=2), nn.GELU(),
            nn.ConvTranspose1d(width, width, 8, stride=4, padding=2), nn.GELU(),
            nn.Conv1d(width, 1, 9, padding=4),
        )  # fmt: skip


def signal_to_noise(clean: Tensor, decoded: Tensor) -> float:
    """dB, higher is better."""
    return 10 * (clean.square().mean() / (decoded - clean).square().mean()).log10().item()


def main(arguments: list[str] | None = None) -> list[float]:
    """Trains, and returns the held-out signal-to-noise ratio in dB with 1, 2, .. levels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few steps only")
    chosen = parser.parse_args(arguments)
    torch.manual_seed(0)
    model = Codec()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for step in range(30 if chosen.quick else 1000):
        wave = sounds(32, seed=step)
        output = model.quantizer(model.encoder(wave))
        loss = (model.decoder(output.quantized) - wave).square().mean() + output.losses.total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 200 == 199:
            perplexity = model.quantizer.usage().perplexity.mean()
            print(f"step {step + 1}: loss {loss.item():.4f}, mean perplexity {perplexity:.0f}")
            model.quantizer.reset_usage()
    model.eval()
    wave = sounds(200, seed=10_000)
    ratios = []
    with torch.no_grad():
        tokens = model.quantizer(model.encoder(wave)).indices  # [batch, time, levels]
        for levels in range(1, LEVELS + 1):
            decoded = model.decoder(model.quantizer.decode(tokens[..., :levels]))
            ratios.append(signal_to_noise(wave, decoded))
            bits = levels * math.log2(SIZE) * RATE / STRIDE
            print(f"{levels} levels, {bits / 1000:.1f} kbit/s: {ratios[-1]:.1f} dB")
    return ratios


if __name__ == "__main__":
    main()
