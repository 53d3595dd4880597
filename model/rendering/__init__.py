"""From a recording to a film: rows of a list, sound in, two ways to make the pictures, an MP4 out."""
