"""Everything between the network and the model: clocks, sound, sessions, transports. No tensors."""
