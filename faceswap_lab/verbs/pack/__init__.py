"""`train --recipe pack`: the stages of making the pack of actors."""
