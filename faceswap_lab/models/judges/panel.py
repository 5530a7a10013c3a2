"""The judges, in a fixed order: dlib's network and HSE-FaceRes. Neither trains anything here, and neither selects."""

from collections.abc import Callable
from functools import cache

from faceswap_lab.faces.align import Template
from faceswap_lab.models.judges import dlib_resnet, faceres
from faceswap_lab.models.judges.graph import Network
from faceswap_lab.models.judges.recogniser import Recogniser
from faceswap_lab.models.weights import catalogue, tensors
from faceswap_lab.models.weights.tensors import Stored

DLIB, FACERES = "dlib-resnet-v1", "hse-faceres"
NAMES = (DLIB, FACERES)


def judges() -> tuple[Recogniser, ...]:
    """The judges, loaded once in a process. Raises WeightsError, with the remedy, if a file was not fetched or was altered."""
    paths = [catalogue.path(name) for name in NAMES]
    return tuple(_loaded(name, str(path)) for name, path in zip(NAMES, paths, strict=True))


@cache
def _loaded(name: str, path: str) -> Recogniser:
    make: dict[str, tuple[Callable[[Stored], Network], Template, int]] = {
        DLIB: (dlib_resnet.network, dlib_resnet.TEMPLATE, dlib_resnet.SIZE),
        FACERES: (faceres.network, faceres.TEMPLATE, faceres.SIZE),
    }
    network, template, size = make[name]
    with open(path, "rb") as file:
        stored = tensors.read(file.read(), name)
    return Recogniser(card=catalogue.MODELS[name].card, template=template, size=size, network=network(stored))
