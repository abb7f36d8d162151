"""The grouped options of :class:`VectorQuantize` and its residual forms."""

from dataclasses import dataclass
from typing import Literal

from spinlock.errors import ConfigError
from spinlock.modules._options import (
    CodebookInit,
    Similarity,
    check_choice,
    check_count,
    check_decay,
    check_positive,
    check_weighting,
)

__all__ = ["Estimator", "LevelDropout", "Lookup", "Regularizers", "Shapes", "Update"]

Estimator = Literal["straight_through", "rotation", "none"]
MaskedFill = Literal["zeros", "input"]


@dataclass(frozen=True)
class Lookup:
    """How a row finds its code, and how gradients come back.

    Attributes:
        similarity: ``"euclidean"``, or ``"cosine"``: latents and codes are scaled to length 1.
        estimator: of the gradient that reaches the latents: ``"straight_through"``,
            ``"rotation"`` (Fifty et al. 2024, arXiv:2410.06424) or ``"none"``.
        temperature: > 0 draws codes in training mode with probability
            softmax(-distance / temperature) by the Gumbel trick; 0 always takes the nearest.
        soft_gradient: drawn codes carry the gradient of that softmax where no estimator does.

    >>> Lookup(similarity="cosine", estimator="rotation").temperature
    0.0
    """

    similarity: Similarity = "euclidean"
    estimator: Estimator = "straight_through"
    temperature: float = 0.0
    soft_gradient: bool = False

    def __post_init__(self) -> None:
        """Raises ConfigError for an option out of its range."""
        check_choice("similarity", self.similarity, Similarity)
        check_choice("estimator", self.estimator, Estimator)
        check_weighting("temperature", self.temperature)


@dataclass(frozen=True)
class Update:
    """How codes start, move and are replaced.

    Attributes:
        ema: codes follow moving averages of their rows.
        learnable: codes are a parameter; None: exactly where they do not follow averages.
        decay: of the averages, 0 <= decay < 1.
        epsilon: Laplace smoothing of the counts, > 0.
        init: ``"kmeans"``, from the first training batch, or ``"uniform"``.
        expire_below: in training mode, after each step, codes whose average count is below this
            many rows move onto random rows of the batch; 0 never.
        expired_count: the count that such a code starts with; None: ``expire_below``.
        synchronize: processes of torch.distributed share statistics, first codes and expiry, with
            one message each per training step and none in eval mode; None: where there are several.

    >>> Update(expire_below=2.0).expired_count is None
    True
    """

    ema: bool = True
    learnable: bool | None = None
    decay: float = 0.99
    epsilon: float = 1e-5
    init: CodebookInit = "kmeans"
    expire_below: float = 0.0
    expired_count: float | None = None
    synchronize: bool | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError for an option out of its range."""
        check_decay(self.decay)
        check_positive("epsilon", self.epsilon, usual=1e-5)
        check_choice("init", self.init, CodebookInit)
        check_weighting("expire_below", self.expire_below)
        if not (self.ema or self.learns):
            raise ConfigError(
                "update: expected codes that move, got ema=False and learnable=False; leave "
                "learnable away, or freeze the module to keep its codes"
            )

    @property
    def learns(self) -> bool:
        """Whether codes are a parameter."""
        return not self.ema if self.learnable is None else self.learnable

    @property
    def reset_count(self) -> float:
        """The count of a code that was replaced."""
        return self.expire_below if self.expired_count is None else self.expired_count


@dataclass(frozen=True)
class Regularizers:
    """The terms of the loss and their weights; 0 leaves a term out.

    Attributes:
        commitment: pulls latents towards their codes.
        cross_entropy: that term is the cross entropy of the code among all, by distance, instead
            of the mean squared error.
        orthogonal: pushes codes apart in angle (Shin et al. 2021, arXiv:2112.00384, eq. 2); the
            codes become a parameter.
        orthogonal_used_only: over the codes of this batch only; one codebook.
        orthogonal_max_codes: over this many codes, drawn anew each time; None: all.
        diversity: minus the entropy of the mean softmax over distances: codes used alike.
        diversity_temperature: what distances are multiplied by there.

    >>> Regularizers(commitment=0.25).orthogonal
    0.0
    """

    commitment: float = 1.0
    cross_entropy: bool = False
    orthogonal: float = 0.0
    orthogonal_used_only: bool = False
    orthogonal_max_codes: int | None = None
    diversity: float = 0.0
    diversity_temperature: float = 100.0

    def __post_init__(self) -> None:
        """Raises ConfigError for an option out of its range."""
        for name in ("commitment", "orthogonal", "diversity"):
            check_weighting(name, getattr(self, name))
        check_positive("diversity_temperature", self.diversity_temperature, usual=100)
        if self.orthogonal_max_codes is not None:
            check_count("orthogonal_max_codes", self.orthogonal_max_codes, usual="None takes all")


@dataclass(frozen=True)
class Shapes:
    """How tensors lie.

    Attributes:
        channels_first: [batch, dim, *places], as images and volumes come, instead of
            [*places, dim].
        masked_fill: what ``quantized`` holds where a mask is False: ``"zeros"`` or ``"input"``.

    >>> Shapes(channels_first=True).masked_fill
    'zeros'
    """

    channels_first: bool = False
    masked_fill: MaskedFill = "zeros"

    def __post_init__(self) -> None:
        """Raises ConfigError for an option out of its range."""
        check_choice("masked_fill", self.masked_fill, MaskedFill)


@dataclass(frozen=True)
class LevelDropout:
    """In training, only the first levels are used in a step, how many is drawn evenly.

    Attributes:
        at_least: levels that are always used, >= 1.
        multiple_of: the number is rounded up to a multiple of this.

    >>> LevelDropout(at_least=2)
    LevelDropout(at_least=2, multiple_of=1)
    """

    at_least: int = 1
    multiple_of: int = 1

    def __post_init__(self) -> None:
        """Raises ConfigError for an option out of its range."""
        for name in ("at_least", "multiple_of"):
            check_count(name, getattr(self, name), usual="1 is usual")
