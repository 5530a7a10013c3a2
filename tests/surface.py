"""The public surface as text: every public name with its signature, and what the objects can do that a user gets from them.

    python -m tests.surface     writes tests/golden/surface.txt anew: after a change of the surface that is meant

Classes that a public function returns or takes belong to it too, and so on through their members; a class that the code imports for
type checkers only stands by its name. Names stand without their modules, so that moving code changes nothing here.
"""

import enum
import inspect
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faceswap_lab

GOLDEN = Path(__file__).parent / "golden" / "surface.txt"
COMMAND = "python -m tests.surface"
INSIDE = {"Scene"}
"""Classes where the surface ends: a `Rendered` keeps its scene for its own properties."""


def surface() -> str:
    """One block of lines per public name and per class, the public names first."""
    found: dict[type, None] = {}
    blocks = []
    for name in faceswap_lab.__all__:
        value = getattr(faceswap_lab, name)
        members = _of_module(value) if inspect.ismodule(value) else {"": value}
        blocks.append("\n".join(_line(f"{name}.{inner}".rstrip("."), member) for inner, member in members.items()))
        for member in members.values():
            found |= dict.fromkeys(_classes(member))
    blocks += [_block(kind) for kind in sorted(_reached(found), key=lambda kind: (kind.__name__, kind.__module__))]
    return "\n\n".join(blocks) + "\n"


def _of_module(module: types.ModuleType) -> dict[str, Any]:
    own = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return {name: value for name, value in sorted(own.items()) if getattr(value, "__module__", None) == module.__name__}


def _line(name: str, value: Any) -> str:
    if inspect.isclass(value):
        return f"{name} = class {value.__name__}"
    return f"{name}{_signature(value)}" if callable(value) else f"{name}: {_plain(value)}"


def _block(kind: type) -> str:
    bases = ", ".join(base.__name__ for base in kind.__mro__[1:-1] if _ours(base))
    lines = [f"class {kind.__name__}({bases})" if bases else f"class {kind.__name__}"]
    lines += [f"    = {member.name}: {member.value!r}" for member in kind] if issubclass(kind, enum.Enum) else []
    if _ours(inspect.unwrap(kind.__init__)) and not issubclass(kind, enum.Enum) and not getattr(kind, "_is_protocol", False):
        lines.append(f"    {_signature(kind)}")
    return "\n".join([*lines, *_members(kind)])


def _members(kind: type) -> Iterator[str]:
    """What the class defines itself; inherited members stand with the class that has them."""
    for name, value in sorted(vars(kind).items()):
        if name.startswith("_") or isinstance(value, types.MemberDescriptorType):
            continue
        prefix = {property: "property ", classmethod: "classmethod ", staticmethod: "staticmethod "}.get(type(value), "")
        function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if inspect.isfunction(function) and _ours(function):
            yield f"    {prefix}{name}{_signature(function)}"


def _signature(value: Any) -> str:
    return _plain(inspect.signature(value))


def _plain(value: Any) -> str:
    """Without the modules of names, and without what differs between two machines or two versions of Python."""
    text = re.sub(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_<])", "", str(value))
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def _ours(thing: Any) -> bool:
    return getattr(thing, "__module__", "").partition(".")[0] == "faceswap_lab" and thing.__name__ not in INSIDE


def _reached(found: dict[type, None]) -> list[type]:
    """The classes, and those that their public members return or take."""
    left = list(found)
    while left:
        kind = left.pop()
        members = [member for name, member in vars(kind).items() if not name.startswith("_")] + [kind, *kind.__mro__[1:]]
        new = [each for member in members for each in _classes(member) if each not in found]
        found |= dict.fromkeys(new)
        left += new
    return list(found)


def _classes(value: Any) -> list[type]:
    """Our classes that a function's hints name; a class itself, and what its constructor takes."""
    if inspect.isclass(value):
        return [kind for kind in [value, *_hinted(value.__init__)] if _ours(kind)]
    function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    return [kind for kind in _hinted(function) if _ours(kind)] if inspect.isfunction(function) else []


def _hinted(function: Any) -> Iterator[type]:
    left = list(inspect.get_annotations(inspect.unwrap(function)).values()) if inspect.isfunction(function) else []
    names = getattr(inspect.unwrap(function), "__globals__", {})
    while left:
        hint = left.pop()
        if isinstance(hint, str):
            hint = _evaluated(hint, names)
        left += [] if typing.get_origin(hint) is typing.Literal else typing.get_args(hint)
        if inspect.isclass(hint) and not typing.get_args(hint):
            yield hint


def _evaluated(hint: str, names: dict[str, Any]) -> Any:
    """A hint in quotes; None where its name is imported for type checkers only."""
    try:
        return eval(hint, names)
    except NameError:
        return None


if __name__ == "__main__":
    GOLDEN.write_text(surface(), encoding="utf-8")
    print(f"wrote {GOLDEN}")
