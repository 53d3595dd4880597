"""The drawn world: people and animals of any look in any pose, as pictures. No sound, no time, no networks."""
