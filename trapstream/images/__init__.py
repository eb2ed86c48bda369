"""From the bytes of an image to letterboxed pixels: a library without a queue."""
