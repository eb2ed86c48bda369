"""verify: does a result file hold every image of its manifest exactly once?"""
