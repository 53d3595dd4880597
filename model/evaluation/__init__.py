"""Scoring the embedded preset against the drawn world's truth: who is filmed, how pictures are read, what counts."""
