"""Head models that the user has, made ours: ICT-FaceKit, FLAME, Basel Face Model.

unpickle   foreign pickles without running what is in them
obj        Wavefront files
landmarks  published index files of the 68 landmarks
ict, flame, bfm   one source each: files to arrays, in metres
bend       the procedural head laid over a foreign one
atlas      UVs for models without
finish     what a source lacks is derived from those two

`import_head(kind, path, name)` does all of it and stores the model.
"""

from headworks.heads.importers.convert import KINDS, Imported, import_head

__all__ = ["KINDS", "Imported", "import_head"]
