"""Random numbers for many steps of a training, drawn on the host in order and sent to the device at once.

Numbers are drawn on the host so that they are the same on every device and the generator's state is easy to save. Sent step by step
they would make the device wait for the host at every step.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from faceswap_lab.actors.gfx.transfer import send

Draw = Callable[[torch.Generator], Sequence[Tensor]]
"""All random numbers of one step, as host tensors."""

_MOST_STEPS = 64


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """The generator's states before and after a step's draws, and the numbers on the device."""

    before: Tensor
    after: Tensor
    numbers: tuple[Tensor, ...]


class DrawsAhead:
    """Draws of up to `num_steps` steps at once.

    `next` moves the generator by one step only: after any step it can be saved and the training resumed, as if each had drawn its
    own.
    """

    def __init__(self, draw: Draw, device: torch.device, num_steps: int) -> None:
        self._draw, self._device, self._num_steps = draw, device, min(num_steps, _MOST_STEPS)
        self._steps: deque[_Step] = deque()

    def next(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The numbers of the generator's next step, on the device."""
        state = generator.get_state()
        if not self._steps or not torch.equal(state, self._steps[0].before):
            self._steps = self._drawn(state)
        step = self._steps.popleft()
        generator.set_state(step.after)
        return step.numbers

    def _drawn(self, state: Tensor) -> deque[_Step]:
        generator = torch.Generator()
        generator.set_state(state)
        states, numbers = [state], list[tuple[Tensor, ...]]()
        for _ in range(self._num_steps):
            numbers.append(tuple(self._draw(generator)))
            states.append(generator.get_state())
        sent = iter(send(self._device, *(number for step in numbers for number in step)))
        there = [tuple(next(sent) for _ in step) for step in numbers]
        return deque(_Step(*step) for step in zip(states, states[1:], there, strict=False))
