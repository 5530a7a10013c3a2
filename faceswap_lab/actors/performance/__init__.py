"""Performances, independent of who performs: acting, motion, light, lens and props."""
