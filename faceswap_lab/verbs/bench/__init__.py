"""The benchmark of `50_benchmark`: fixed pairs of actors, and a method's scores over them."""
