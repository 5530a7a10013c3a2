"""What is done before the camera, by nobody in particular: acting, motion, light, lens and props."""
