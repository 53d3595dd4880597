"""How the embedded weights are made: the drawn world, synthetic speech, and the training stages."""
