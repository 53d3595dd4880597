"""What the C library and Python's collector do with memory that was freed. Knows nothing of who used it.

Only glibc has these levers; elsewhere nothing happens.
"""

import ctypes
import gc
from contextlib import suppress

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of mallopt


def keep() -> None:
    """Let the C library keep what it once got. By default it returns every large tensor to the system at once, and the
    fresh pages of the next one cost a sixth of a batch's time (measured: 70 against 59 ms for two sessions)."""
    with suppress(OSError, AttributeError):
        adjust = ctypes.CDLL(None).mallopt
        for parameter in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            adjust(parameter, 1 << 30)
        adjust(M_TOP_PAD, 1 << 26)


def wake() -> None:
    """Collect from here on, but never look at what was loaded before."""
    gc.freeze()
    gc.enable()


def settle() -> None:
    """What is loaded stays for good: the collector need not look at it again. So it looks at the rest often enough to
    free what closed connections leave behind, and never pauses for long."""
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """Free what only cycles still hold and return it to the system: codecs and connections leave holes (measured: 50 MB
    after seventy visitors). Takes some 10 ms after `settle`."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
