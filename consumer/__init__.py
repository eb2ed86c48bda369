"""The consumer: fetch, decode and letterbox, detect, emit."""
