"""Triton kernels of the ragged quantizer: torch, triton and each other, nothing of spinlock.

Shapes and pointers are checked by the ops layer; here they are taken as they come.
"""

if __name__ != "spinlock.kernels":
    raise ImportError(
        f"kernels: expected to be imported as 'spinlock.kernels', got {__name__!r}: a second "
        "module object of the same file would compile everything twice; import spinlock.kernels"
    )
