"""Shapes and types are checked in every test: jaxtyping and beartype wrap the package before it is imported."""

from jaxtyping import install_import_hook

install_import_hook("faceswap_lab", "tests.typecheck.check")
