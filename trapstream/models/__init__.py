"""Models as bundles, a graph and its card: imported, checked, built, deployed."""
