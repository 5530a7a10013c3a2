"""Object storage and plain folders by address, with deadlines, errors in three parts, and a local cache of bounded size."""
