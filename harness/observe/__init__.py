"""Recorders: what watches the platform and its users beside a scenario, and writes it into the history.

with recording(history, recorders(sources).recorders): ...
"""

from harness.observe.recorder import Recorder, Recording, recording
from harness.observe.sources import Observed, Sources, recorders

__all__ = ["Observed", "Recorder", "Recording", "Sources", "recorders", "recording"]
