"""faceswap_lab: an interactive face-swap research workbench that measures every swap against the true answer.

Public names load on first use, so that `import faceswap_lab` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from faceswap_lab.telemetry import switch_off as _switch_off
from faceswap_lab.threads import settle as _settle

_switch_off()

__version__ = "0.1.0"

_settle()  # before anything loads torch, whose OpenMP reads its settings once

_PLACES = {
    "Consent": "faceswap_lab.trust.consent.basis:Consent",
    "Licence": "faceswap_lab.trust.consent.basis:Licence",
    "Parallel": "faceswap_lab.models.training.team:Parallel",
    "Preview": "faceswap_lab.verbs.train.preview:Preview",
    "PublicDomain": "faceswap_lab.trust.consent.basis:PublicDomain",
    "Run": "faceswap_lab.runs.run:Run",
    "Synthetic": "faceswap_lab.trust.consent.basis:Synthetic",
    "actor": "faceswap_lab.actors.cast:Actor",
    "admit": "faceswap_lab.verbs.people:admit",
    "align": "faceswap_lab.views.align:align",
    "bench": "faceswap_lab.verbs.bench.bench:bench",
    "browse": "faceswap_lab.views.faceset:browse",
    "cluster": "faceswap_lab.compute.cluster:cluster",
    "compare": "faceswap_lab.views.compare:compare",
    "demo": "faceswap_lab.serve.demo:demo",
    "enlist": "faceswap_lab.verbs.gather.gather:enlist",
    "errors": "faceswap_lab.errors",
    "evaluate": "faceswap_lab.verbs.evaluate.evaluate:evaluate",
    "faceset": "faceswap_lab.verbs.library:faceset",
    "gather": "faceswap_lab.verbs.gather.gather:gather",
    "index": "faceswap_lab.views.run_index.writing:index",
    "init": "faceswap_lab.maintenance.new_lab:init",
    "recipes": "faceswap_lab.verbs.recipes",
    "render": "faceswap_lab.verbs.render.render:render",
    "report": "faceswap_lab.views.report.runs:report",
    "shards": "faceswap_lab.verbs.shard_sets:shards",
    "studio": "faceswap_lab.views.studio:studio",
    "swap": "faceswap_lab.verbs.swap.swap:swap",
    "track": "faceswap_lab.runs.tracking.choice:track",
    "train": "faceswap_lab.verbs.train.train:train",
    "unlike": "faceswap_lab.verbs.swap.unlike:unlike",
}

if TYPE_CHECKING:
    from faceswap_lab import errors
    from faceswap_lab.actors.cast import Actor as actor  # noqa: N813
    from faceswap_lab.compute.cluster import cluster
    from faceswap_lab.maintenance.new_lab import init
    from faceswap_lab.models.training.team import Parallel
    from faceswap_lab.runs.run import Run
    from faceswap_lab.runs.tracking.choice import track
    from faceswap_lab.serve.demo import demo
    from faceswap_lab.trust.consent.basis import Consent, Licence, PublicDomain, Synthetic
    from faceswap_lab.verbs import recipes
    from faceswap_lab.verbs.bench.bench import bench
    from faceswap_lab.verbs.evaluate.evaluate import evaluate
    from faceswap_lab.verbs.gather.gather import enlist, gather
    from faceswap_lab.verbs.library import faceset
    from faceswap_lab.verbs.people import admit
    from faceswap_lab.verbs.render.render import render
    from faceswap_lab.verbs.shard_sets import shards
    from faceswap_lab.verbs.swap.swap import swap
    from faceswap_lab.verbs.swap.unlike import unlike
    from faceswap_lab.verbs.train.preview import Preview
    from faceswap_lab.verbs.train.train import train
    from faceswap_lab.views.align import align
    from faceswap_lab.views.compare import compare
    from faceswap_lab.views.faceset import browse
    from faceswap_lab.views.report.runs import report
    from faceswap_lab.views.run_index.writing import index
    from faceswap_lab.views.studio import studio

__all__ = [
    "Consent",
    "Licence",
    "Parallel",
    "Preview",
    "PublicDomain",
    "Run",
    "Synthetic",
    "actor",
    "admit",
    "align",
    "bench",
    "browse",
    "cluster",
    "compare",
    "demo",
    "enlist",
    "errors",
    "evaluate",
    "faceset",
    "gather",
    "index",
    "init",
    "recipes",
    "render",
    "report",
    "shards",
    "studio",
    "swap",
    "track",
    "train",
    "unlike",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'faceswap_lab' has no attribute {name!r}; it has {', '.join(__all__)}")
    module, _, attribute = _PLACES[name].partition(":")
    value = getattr(import_module(module), attribute) if attribute else import_module(module)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
