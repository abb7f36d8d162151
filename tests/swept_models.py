"""Small models whose tokens are reconsidered, and a plain loop that is the truth of it."""

from typing import Any

import torch
from torch import Tensor

from spinlock.vqvae import CategoricalVQVAEConfig, build_vqvae

SIZES = (7, 1, 4)
FORMS = ["residual", "independent"]
FULL = {"encoder_inputs": "all", "linear_decoder": "all"}


def trained(hierarchy: str, *, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    """A model whose decoder is nobody's inverse: every weight has been moved."""
    torch.manual_seed(0)
    config = CategoricalVQVAEConfig(
        category_names=("a", "b", "c"),
        category_sizes=SIZES,
        compression_ratios=[0.4, 0.9, 1.3],
        hierarchy=hierarchy,  # type: ignore[arg-type]
        **options,
    )
    model = build_vqvae(config)
    model.initialize_from(rows(), torch.Generator().manual_seed(2))
    source = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.decoder_parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=source)
    return model.to(dtype)


def rows(count: int = 64, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    factors = torch.randn(count, 4, generator=generator)
    mixing = torch.randn(4, sum(SIZES), generator=generator)
    return factors @ mixing + 0.1 * torch.randn(count, sum(SIZES), generator=generator)


def errors(model: Any, x: Tensor, tokens: Tensor) -> Tensor:
    return (x - model.decode_from_tokens(tokens)).double().square().sum(1)


def plain_sweep(
    model: Any, x: Tensor, tokens: Tensor, limit: float | None = None, start: Tensor | None = None
) -> Tensor:
    """One sweep by whole decodings, one row and one code at a time, in the model's own words."""
    allowed = None if limit is None else limit * model.own_errors(x, start)
    config = model.config
    widths = [max(dims) for dims in config.latent_dims]
    places = [(c, level) for c in range(len(SIZES)) for level in range(config.num_levels)]
    found = tokens.clone()
    for row, features in enumerate(x):
        for q, (c, level) in enumerate(places):
            count = config.codebook_sizes[c][level]
            options = list(range(count))
            if config.hierarchy == "residual":
                own = slice(sum(SIZES[:c]), sum(SIZES[: c + 1]))
                codes = model.quantizer.codebook(c, level).to(x.dtype)
                axes = model.synthesis_axes[c, : codes.shape[1], : SIZES[c]]
                if model.full_synthesis is not None:
                    first = sum(widths[:c])
                    latents = slice(first, first + codes.shape[1])
                    axes = axes + model.full_synthesis.weight[0, latents, own]
                present = int(found[row, q])
                wanted = features - model.decode_from_tokens(found[row : row + 1])[0]
                wanted = wanted[own] + codes[present] @ axes
                options.sort(key=lambda k: float((wanted - codes[k] @ axes).square().sum()))
                options = [*[k for k in options if k != present][:3], present]
            tried = found[row].repeat(len(options), 1)
            tried[:, q] = torch.tensor(options)
            error = errors(model, features.expand(len(options), -1), tried)
            if allowed is not None:
                own = model.own_errors(features.expand(len(options), -1), tried)[:, c]
                error[(own > allowed[row, c]) & (tried[:, q] != found[row, q])] = torch.inf
            found[row, q] = tried[int(error.argmin()), q]
    return found
