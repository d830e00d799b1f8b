"""What LiveKit's native library logs.

``livekit-rtc`` has every record that it and libwebrtc make, down to *trace*, handed to Python, where those below *info*
are thrown away: some 600 for each join, half of the processor time that it takes (``python -m benchmarks.native_log``).
"""

from __future__ import annotations

import os

from livekit.rtc import __version__
from livekit.rtc._ffi_client import FfiClient, ffi_event_callback


def write_it_itself(level: str = "warn") -> None:
    """Have the library write its own log to standard error, from this level on, or as ``RUST_LOG`` says.

    To be called before anything else of ``livekit.rtc``, and after a fork: its threads begin here.
    """
    os.environ.setdefault("RUST_LOG", level)
    # What an own setting of FfiClient would say: it has none, and always asks for the records (livekit 1.1.21).
    FfiClient.instance._ffi_lib.livekit_ffi_initialize(ffi_event_callback, False, b"python", __version__.encode())
