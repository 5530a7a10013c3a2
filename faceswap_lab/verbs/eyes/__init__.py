"""`train --recipe eyes`: the stages of making our own eyes."""
