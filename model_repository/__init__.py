"""What the inference server serves: templates, and the demonstration model."""
