"""Generated pictures and videos say what they are: credentials, a watermark, a visible note.

keys.py           a local certificate authority and signing key, made on first use
credentials.py    C2PA manifests: written, signed, read back (needs the `c2pa` extra)
watermark.py      an invisible mark that outlives re-encoding and scaling
note.py           words in a corner of the picture
"""
