"""What a preset costs on given GPUs, computed from its sizes: memory, operations, bytes sent, and the time they take."""
