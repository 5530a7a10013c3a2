"""One thread for torch and OpenCV, for reproducible sums."""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """A single thread for torch and OpenCV: sums are reproducible, and parallel trainings do not slow each other down."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
