"""Ranks of a real training to which something happens: what stands in for `verbs.train.ranks.ENTRY` in the tests of errors."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from faceswap_lab.compute.rank import Member
from faceswap_lab.verbs.train import ranks


def out_of_memory(payload: Mapping[str, Any], member: Member) -> None:
    """The second rank's device has too little memory for the third step."""
    import torch

    real = ranks.steps_of

    def until_full(*given: Any) -> Any:
        for step in real(*given):
            yield step
            if step.number == 3 and member.rank == 1:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of …")

    with mock.patch.object(ranks, "steps_of", until_full):
        ranks.train_rank(payload, member)


def without_crops(payload: Mapping[str, Any], member: Member) -> None:
    """The crops vanish after the third step, and with them this rank."""
    real = ranks.steps_of

    def until_gone(*given: Any) -> Any:
        for step in real(*given):
            yield step
            if step.number == 3 and member.rank == 0:
                Path(payload["crops"]).unlink()
                os._exit(1)

    with mock.patch.object(ranks, "steps_of", until_gone):
        ranks.train_rank(payload, member)


def crops_gone_before(payload: Mapping[str, Any], member: Member) -> None:
    """The crops vanish after the client has looked, before the rank reads them."""
    ranks.train_rank({**payload, "crops": payload["crops"] + ".gone"}, member)


def torn_checkpoint(payload: Mapping[str, Any], member: Member) -> None:
    """The checkpoint that the rank reads is half of what the client has looked at."""
    if not payload["checkpoint"]:
        ranks.train_rank(payload, member)
        return
    content = Path(payload["checkpoint"]).read_bytes()
    half = Path(payload["folder"]) / f"half-{member.rank}.pt"
    half.write_bytes(content[: len(content) // 2])
    ranks.train_rank({**payload, "checkpoint": str(half)}, member)


def checkpoint_of_another(payload: Mapping[str, Any], member: Member) -> None:
    """The checkpoint is one of another recipe."""
    ranks.train_rank({**payload, "key": "0" * 64} if payload["checkpoint"] else payload, member)
