"""One face's part in a session: what waits to be said, what of it was heard, whether it is speech, and how the face
looks. Knows nothing of other faces, of tasks or of the model.
"""

from stream.events import Credit, SessionEvent
from stream.messages import NEUTRAL
from stream.playback import Playback
from stream.speech import HIGH_WATER_MS, SpeechQueue
from stream.vad import Vad

CREDIT_STEP_MS = 250  # a credit is worth telling when it has grown by this much


class Voice:
    def __init__(self, heard_from: int = 0) -> None:
        """`heard_from`: position of the first sample that the speech detector will get, at the model's rate."""
        self.speech = SpeechQueue()
        self.playback = Playback()
        self.vad = Vad(first_sample=heard_from)
        self.emotion = NEUTRAL
        self._told_credit_ms = HIGH_WATER_MS

    def clear(self) -> tuple[int, int, list[SessionEvent]]:
        """Forget what was not heard; as `Playback.clear`, with what was still queued."""
        queued, segments = self.speech.clear()
        placed, position_ms, events = self.playback.clear(segments)
        return queued + placed, position_ms, events

    def credit(self) -> Credit | None:
        """What may be sent, whenever that is news."""
        available_ms = self.speech.available_ms
        grown_ms = available_ms - self._told_credit_ms
        news = grown_ms >= CREDIT_STEP_MS or (grown_ms and available_ms == HIGH_WATER_MS)
        if grown_ms < 0 or grown_ms >= CREDIT_STEP_MS or available_ms == HIGH_WATER_MS:
            self._told_credit_ms = available_ms
        return Credit(self.speech.buffered_ms, available_ms) if news else None
