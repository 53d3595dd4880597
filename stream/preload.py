"""The first that the fork server imports: Python's collector rests while it reads the model's code.

Hundreds of thousands of objects are made then and none dies, so looking for dead ones is in vain (measured on one core of
an EPYC: imports take 2.4 instead of 3.0 s). Each worker that is forked wakes it: `heap.wake`.
"""

import gc

gc.disable()
