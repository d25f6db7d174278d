"""Synthetic people: appearance, hair, motion and pictures of the procedural head, all by code."""

from headworks.synthetic.person import Person, make_person
from headworks.synthetic.posing import person_scene
from headworks.synthetic.render import Picture, render_person

__all__ = ["Person", "Picture", "make_person", "person_scene", "render_person"]
