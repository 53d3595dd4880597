"""The drawn world: people of any look in any pose, as pictures. No sound, no time, no networks."""
