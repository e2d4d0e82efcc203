"""Whether what comes in is still what it was: of inputs, of the choice of clips, of the sensors."""
