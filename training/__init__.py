"""How the demonstration model was trained, and how it is measured. It is not part of the wheel."""
