"""Contenders that are not honest: what is wrong with each is one thing."""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import numpy as np

from bench.peers.contender import Call, Contract, Outcome
from bench.peers.torch_loop import TorchLoop
from bench.problems import Problem

Change = Callable[[Outcome], Outcome]


class Tampered(TorchLoop):
    """The torch loop, whose outcomes are changed from one call on."""

    name: ClassVar[str] = "tampered"

    def __init__(
        self, change: Change, first: int = 0, contract: Contract = TorchLoop.contract
    ) -> None:
        self.change, self.first = change, first
        # An instance's own, where contenders have one for all.
        self.__dict__["contract"] = contract

    def lookup(self, problem: Problem) -> Call:
        return self._tampered(super().lookup(problem))

    def train_step(self, problem: Problem) -> Call:
        return self._tampered(super().train_step(problem))

    def backward(self, problem: Problem) -> Call:
        return self._tampered(super().backward(problem))

    def _tampered(self, call: Call) -> Call:
        calls = 0

        def outcome(result: object) -> Outcome:
            nonlocal calls
            calls += 1
            found = call.outcome(result)
            return self.change(found) if calls > self.first else found

        return Call(call.run, outcome)


def unchanged(found: Outcome) -> Outcome:
    return found


def one_index(found: Outcome) -> Outcome:
    found.indices[-1, 1] = (found.indices[-1, 1] + 1) % 33
    return found


def no_code(found: Outcome) -> Outcome:
    found.indices[3, 2] = 2
    return found


def negative_code(found: Outcome) -> Outcome:
    found.indices[3, 2] = -1
    return found


def fewer_rows(found: Outcome) -> Outcome:
    return replace(found, indices=found.indices[1:])


def other_batch(found: Outcome) -> Outcome:
    return replace(found, indices=np.roll(found.indices, 1, axis=0))


def one_value(found: Outcome) -> Outcome:
    assert found.quantized is not None
    found.quantized[-1, -1] += 0.01
    return found


def not_a_number(found: Outcome) -> Outcome:
    assert found.quantized is not None
    found.quantized[0, 0] = np.nan
    return found


def half_quantized(found: Outcome) -> Outcome:
    assert found.quantized is not None
    return replace(found, quantized=found.quantized.astype(np.float16).astype(np.float32))


def no_quantized(found: Outcome) -> Outcome:
    return replace(found, quantized=None)


def summed_commitment(found: Outcome) -> Outcome:
    assert found.commitment is not None
    return replace(found, commitment=found.commitment * [1, 9, 1, 1])


def commitment_slightly_off(found: Outcome) -> Outcome:
    assert found.commitment is not None
    return replace(found, commitment=found.commitment * 1.0005)


def commitment_not_a_number(found: Outcome) -> Outcome:
    assert found.commitment is not None
    return replace(found, commitment=found.commitment * np.nan)


def one_code(found: Outcome) -> Outcome:
    assert found.codebooks is not None
    found.codebooks[3][16, 19] += 0.01
    return found


def codes_not_a_number(found: Outcome) -> Outcome:
    assert found.codebooks is not None
    found.codebooks[0][0, 0] = np.nan
    return found


def fewer_codebooks(found: Outcome) -> Outcome:
    assert found.codebooks is not None
    return replace(found, codebooks=found.codebooks[:-1])


def no_codebooks(found: Outcome) -> Outcome:
    return replace(found, codebooks=None)


def one_gradient(found: Outcome) -> Outcome:
    assert found.gradient is not None
    found.gradient[-1, -1] += 0.001
    return found


def gradient_not_a_number(found: Outcome) -> Outcome:
    assert found.gradient is not None
    found.gradient[0, 0] = np.nan
    return found


def no_gradient(found: Outcome) -> Outcome:
    return replace(found, gradient=None)
