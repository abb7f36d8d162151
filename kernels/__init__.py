"""Triton kernels of the ragged quantizer: torch, triton and each other, nothing of spinlock.

Shapes and pointers are checked by the ops layer; here they are taken as they come.
"""

if __name__ != "spinlock.kernels":
    # Libraries that look for an optional package of this name find one without a version; a second
    # copy of the modules would compile everything twice.
    __path__ = []

    def __getattr__(name: str) -> object:
        raise AttributeError(f"{__name__}.{name}: import spinlock.kernels, which this is a part of")
