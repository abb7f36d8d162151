"""A VQ-VAE of 8 x 8 digit images: 4 tokens of 6 bits each, and a picture of what they keep."""

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from spinlock import Lookup, Regularizers, Shapes, Update, VectorQuantize


class ImageVQVAE(nn.Module):
    """[batch, 1, 8, 8] -> 2 x 2 tokens -> [batch, 1, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.GELU(),
            nn.Conv2d(32, 64, 4, stride=2, padding=1), nn.GELU(),
            nn.Conv2d(64, 16, 4, stride=2, padding=1),
        )  # fmt: skip
        self.quantizer = VectorQuantize(
            16,
            64,
            lookup=Lookup(estimator="rotation"),
            update=Update(decay=0.95, expire_below=0.5),
            regularizers=Regularizers(commitment=0.25),
            shapes=Shapes(channels_first=True),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(16, 64, 4, stride=2, padding=1), nn.GELU(),
            nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1), nn.GELU(),
            nn.Conv2d(32, 1, 3, padding=1),
        )  # fmt: skip

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(reconstruction, loss of the quantizer)."""
        output = self.quantizer(self.encoder(images))
        return self.decoder(output.quantized), output.losses.total


def draw(images: Tensor, path: Path) -> None:
    """Images above their reconstructions, [2, n, 8, 8], as a grid."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(images.shape[1] * 0.6, 1.3))
    for row in range(2):
        for column in range(images.shape[1]):
            place = row * images.shape[1] + column + 1
            axes = figure.add_subplot(2, images.shape[1], place)
            axes.imshow(images[row, column].numpy(), cmap="gray_r", vmin=0, vmax=1)
            axes.axis("off")
    figure.savefig(path, dpi=150)


def main(arguments: list[str] | None = None) -> float:
    """Trains, draws, and returns the share of the held-out variance that is lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three epochs only")
    parser.add_argument("--output", type=Path, default=Path("digits.png"))
    chosen = parser.parse_args(arguments)
    torch.manual_seed(0)
    images = torch.from_numpy(load_digits().images).float().div(16)[:, None]
    order = torch.randperm(len(images))
    training, held_out = images[order[300:]], images[order[:300]]
    model = ImageVQVAE()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for epoch in range(3 if chosen.quick else 60):
        model.train()
        model.quantizer.reset_usage()
        for batch in training[torch.randperm(len(training))].split(128):
            reconstruction, quantizer_loss = model(batch)
            loss = (reconstruction - batch).square().mean() + quantizer_loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % 10 == 9 or chosen.quick:
            usage = model.quantizer.usage()
            print(f"epoch {epoch + 1}: loss {loss.item():.4f}, perplexity "
                  f"{usage.perplexity.item():.0f} of 64, {usage.dead} dead")  # fmt: skip
    model.eval()
    with torch.no_grad():
        decoded = model(held_out)[0]
    lost = ((decoded - held_out).square().mean() / held_out.var()).item()
    draw(torch.stack([held_out[:12, 0], decoded[:12, 0].clamp(0, 1)]), chosen.output)
    print(f"24 bits per image lose {lost:.3f} of the held-out variance; {chosen.output} shows it")
    return lost


if __name__ == "__main__":
    main()
