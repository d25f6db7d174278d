"""Faces and their 68 landmarks in images."""
