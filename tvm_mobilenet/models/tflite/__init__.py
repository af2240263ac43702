"""TensorFlow Lite files in ONNX's operators, which the importer reads on.

``read`` checks what the schema's package unpacks, ``writer`` keeps what has been written, and
``operators`` and ``windows`` say what each operator is in ONNX's. Maps become NCHW inside; the
network's input and outputs stay as the file has them.
"""
