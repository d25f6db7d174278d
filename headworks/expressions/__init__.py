"""The same expression on other people: by LivePortrait, or exactly by synthetic people."""
