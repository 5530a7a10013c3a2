"""Provenance metadata in files: the mark written on export, and the claims read on admission."""
