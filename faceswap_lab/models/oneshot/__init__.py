"""The one-shot swapper's material and network: pictures of actors with their true swaps, geometry, net."""
