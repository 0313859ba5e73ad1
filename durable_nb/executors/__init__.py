"""Where calls run. Each module offers ``run(work, chunks, workers=…, halted=…)``; ``inline`` has one worker whatever it is told.

``chunks`` is an iterator over lists of calls; it is advanced on the caller's thread only, because the user's generator
may be tied to it, and never further ahead than the workers need. ``work`` computes and saves one call; what it raises
ends the run and is raised to the caller, so the failure of a single document must not leave it.
"""
