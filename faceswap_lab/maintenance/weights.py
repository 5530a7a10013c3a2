"""Fetching weights: free ones on request, restricted ones once their licence is accepted, which the audit log records."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from faceswap_lab.errors import WeightsError
from faceswap_lab.files import lab_root
from faceswap_lab.models.weights import bundled, catalogue
from faceswap_lab.models.weights import restricted as packs
from faceswap_lab.trust import audit


def fetch(
    names: Sequence[str] = (), *, accept_licence: str | None = None, progress: Callable[[str], object] = print
) -> list[dict[str, Any]]:
    """Fetches weights, those of the offline engine if no names are given; returns `listed()`.

    `accept_licence` names the licence of the restricted weights among `names`: who accepted what and when is logged before
    anything is fetched. Without it, raises LicenceError, which shows the terms; ValueError for unknown names.
    """
    unknown = [name for name in names if name not in catalogue.MODELS and name not in packs.PACKS]
    if unknown:
        raise ValueError(f"no model is called {unknown[0]!r}; there are {', '.join([*catalogue.MODELS, *packs.PACKS])}")
    restricted = [name for name in names if name in packs.PACKS]
    if accept_licence is not None and not restricted:
        raise ValueError(f"none of these weights has a licence to accept; those that have are {', '.join(packs.PACKS)}")
    for name in restricted:
        packs.check_acceptance(name, accept_licence)
    free = [name for name in names if name in catalogue.MODELS]
    if free or not names:
        catalogue.fetch(free or None, progress=progress)
    for name in restricted:
        _fetch_restricted(name, accept_licence, progress)
    return listed()


def _fetch_restricted(name: str, accept_licence: str | None, progress: Callable[[str], object]) -> None:
    pack = packs.PACKS[name]
    progress(f"{name}: licence {pack.card.licence}; {pack.terms}")
    if accept_licence is not None:
        acceptance = packs.Acceptance(
            name=name,
            licence=pack.card.licence,
            sha256=pack.card.sha256,
            who=audit.user(),
            when=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        # Logged first: there must be no restricted weights on disk without a log entry.
        audit.append(
            lab_root(),
            {
                "action": "licence accepted",
                "weights": name,
                "licence": pack.card.licence,
                "sha256": pack.card.sha256,
                "who": acceptance.who,
            },
        )
        packs.accept(acceptance)
    before = packs.state(name)
    packs.fetch(name, progress=progress)
    if pack.url and before != "ok":
        audit.append(lab_root(), {"action": "weights fetched", "weights": name, "sha256": pack.card.sha256, "url": pack.url})


def verify() -> None:
    """Raises WeightsError for a missing or altered file of the offline engine or of what is bundled, or an altered file of a
    fetched pack."""
    for name in bundled.TASKS:
        bundled.path(name)
    for name in catalogue.MODELS:
        catalogue.path(name)
    for name in packs.PACKS:
        if packs.state(name) == "altered":
            raise WeightsError(
                expected=f"the pack {name} as it was fetched",
                got=f"different or missing files in {packs.folder_of(name)}",
                remedy=f"run `faceswap-lab models fetch {name}`, or remove that folder",
            )


def listed() -> list[dict[str, Any]]:
    """All weights this lab knows, with state, task, licence and path; for restricted ones, whether their licence was accepted."""
    rows: list[dict[str, Any]] = []
    for status in catalogue.verify():
        card = catalogue.MODELS[status.name].card
        rows.append({"name": card.name, "state": status.state, "for": card.task, "licence": card.licence, "file": str(status.path)})
    for name, task in bundled.TASKS.items():
        licence = str(bundled.card(name)["licence"])
        rows.append(
            {"name": name, "state": bundled.state(name), "for": task, "licence": licence, "file": str(bundled.folder(name))}
        )
    for name, pack in packs.PACKS.items():
        who = packs.accepted(name)
        said = f"accepted by {who.who}, {who.when}" if who else "not accepted"
        place = str(packs.folder_of(name)) if pack.url else "your own"
        rows.append(
            {
                "name": name,
                "state": packs.state(name),
                "for": pack.card.task,
                "licence": f"{pack.card.licence}: {said}",
                "file": place,
            }
        )
    return rows
