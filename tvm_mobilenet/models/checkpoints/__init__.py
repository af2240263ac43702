"""Trained weights as others store them: file formats, names, where they are published.

``names`` is data; ``reading`` knows formats, ``torch_files`` and ``pickles`` the one that would run
code; ``hub`` and ``pretrained`` fetch; ``fitting`` says whether and how they fit a model.
"""
