"""Shapes and types are checked in every test: jaxtyping and beartype wrap the package before it is imported."""

from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401 (the hook looks the checker up by name)

install_import_hook("faceswap_lab", "tests.typecheck.check")
