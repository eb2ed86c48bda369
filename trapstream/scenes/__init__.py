"""Camera-trap scenes, drawn: for the demonstration model, the checks of models, the benchmark and the tests."""
