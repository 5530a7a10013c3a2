"""`train --recipe pack`: the pack of actors, stage by stage."""
