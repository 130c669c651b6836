"""Names for arrays in annotations, by what they hold.

They say what a function takes, and are not checked: numpy's own annotations lose an
array's dtype at the first operation. The dtype of floats is that of the objective,
float64 or float32, unless the docstring says otherwise; integers are int64.
"""

from typing import Any, TypeAlias

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
FloatArray: TypeAlias = NDArray[Any]
IntArray: TypeAlias = NDArray[Any]
BoolArray: TypeAlias = NDArray[Any]
ByteArray: TypeAlias = NDArray[Any]
