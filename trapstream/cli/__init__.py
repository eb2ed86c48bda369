"""The command `trapstream`: one file for each group of verbs, no logic."""
