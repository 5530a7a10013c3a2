"""Who agreed to what: manifests, declarations, the gate, withdrawal."""
