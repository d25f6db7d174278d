"""What each step of the method reads and writes: one stage, one file or one folder."""
