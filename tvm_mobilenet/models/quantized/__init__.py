"""Networks that compute in integers: what they are, and the integers that they compute.

``model`` says which layers compute in integers and what their tensors' elements stand for;
``lowering`` makes one of float layers. ``requantization`` holds the float32 numbers by which sums
become elements, ``arithmetic`` and ``tables`` what is done with them, and ``reference`` runs a
network: kernels equal it bit for bit (docs/adr/0028).
"""
