"""The drive on its one thread: the door, the ring, the drive itself, its signal log and timing."""
