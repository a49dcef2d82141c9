# SPDX-License-Identifier: MIT
# Types of gpt2client.py. A stub package of its own, as PEP 561 wants it for a module that is one file.
import array
import os
from enum import IntEnum
from types import TracebackType
from typing import Any, List, Literal, NamedTuple, Optional, Sequence, Type, TypeVar, Union, overload

import numpy
import numpy.typing
import torch

__version__: str

E_ARGUMENT: int
E_MEMORY: int
E_SYSTEM: int
E_ID: int
E_POSITION: int
E_SIZE: int
E_NO_TENSOR: int
E_NO_DAEMON: int
E_ACCESS: int
E_TIMEOUT: int
E_LOADING: int
E_NO_MODEL: int
E_LOAD_FAILED: int
E_REFUSED: int
E_PROTOCOL: int
E_CLOSED: int
E_UNSEALED: int
E_IMAGE: int
E_NOT_FOUND: int
E_NOT_A_PACK: int
E_VERSION: int
E_TRUNCATED: int
E_CORRUPT: int
E_MALFORMED: int

_Path = Union[str, bytes, os.PathLike[str], os.PathLike[bytes]]
_Array = numpy.ndarray[Any, Any]
_ArrayIds = Union[_Array, Sequence[int], Sequence[Sequence[int]]]
_Ids = Union[_ArrayIds, torch.Tensor]
_Positions = Union[_Ids, Literal[False], None]
_Floats = numpy.ndarray[Any, numpy.dtype[numpy.float32]]
# The class Store hides the module torch behind a method.
_Module = torch.nn.Module
_Tensor = torch.Tensor
_Out = TypeVar('_Out', bound=Union[_Array, torch.Tensor, memoryview, array.array[float]])

class State(IntEnum):
    CURRENT = 0
    SUPERSEDED = 1
    ORPHANED = 2

class Error(Exception):
    message: str
    code: int
    index: Optional[int]
    errno: Optional[int]
    def __init__(self, message: str, code: int = ..., index: Optional[int] = ...,
                 errno: Optional[int] = ...) -> None: ...

class Info(NamedTuple):
    n_vocab: int
    n_positions: int
    n_embd: int
    n_layer: int
    n_head: int
    n_tensors: int
    generation: int
    content_id: str
    wte_dtype: str
    wpe_dtype: Optional[str]
    sealed: bool
    daemon: bool
    verified: bool
    image_bytes: int
    expanded: bool

class Store:
    def __init__(self, model: Optional[str] = ..., *, socket: Optional[_Path] = ...,
                 file: Optional[_Path] = ..., timeout: Optional[float] = ..., writable: bool = ...,
                 allow_unsealed: bool = ..., verify: bool = ..., populate: bool = ...) -> None: ...
    def __enter__(self) -> Store: ...
    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None: ...
    def close(self) -> None: ...
    @property
    def closed(self) -> bool: ...
    @property
    def writable(self) -> bool: ...
    @property
    def info(self) -> Info: ...
    @property
    def state(self) -> State: ...
    def fileno(self) -> int: ...
    def keys(self) -> List[str]: ...
    def tensor(self, name: str, *, widen: bool = ...) -> _Array: ...
    def get_tensor(self, name: str, *, widen: bool = ...) -> _Array: ...
    def scales(self, name: str) -> Optional[_Floats]: ...
    def rows(self, ids: _Ids) -> List[Any]: ...
    @overload
    def embed(self, ids: _Tensor, past: int = ..., positions: _Positions = ...,
              out: None = ...) -> _Tensor: ...
    @overload
    def embed(self, ids: _ArrayIds, past: int = ..., positions: _Positions = ...,
              out: None = ...) -> _Floats: ...
    @overload
    def embed(self, ids: _Ids, past: int = ..., positions: _Positions = ..., *,
              out: _Out) -> _Out: ...
    def embed_part(self, ids: _Ids, part: int, n_parts: int, past: int = ..., *, out: _Out) -> _Out: ...
    def prefetch(self, ids: _Ids) -> None: ...
    def verify_rows(self, name: str, first: int = ..., n: Optional[int] = ...) -> None: ...
    def refresh(self) -> bool: ...
    def attach(self, model: _Module) -> List[str]: ...
    def torch(self, name: str) -> _Tensor: ...

class Embedding(torch.nn.Module):
    store: Store
    positions: bool
    num_embeddings: int
    embedding_dim: int
    padding_idx: None
    def __init__(self, store: Store, positions: bool = ...) -> None: ...
    @property
    def weight(self) -> torch.Tensor: ...
    def forward(self, ids: torch.Tensor, past: int = ..., positions: Optional[torch.Tensor] = ...
                ) -> torch.Tensor: ...
    def __call__(self, ids: torch.Tensor, past: int = ..., positions: Optional[torch.Tensor] = ...
                 ) -> torch.Tensor: ...

def open(model: Optional[str] = ..., *, socket: Optional[_Path] = ..., file: Optional[_Path] = ...,
         timeout: Optional[float] = ..., writable: bool = ..., allow_unsealed: bool = ...,
         verify: bool = ..., populate: bool = ...) -> Store: ...
def attach(model: torch.nn.Module, store: Union[Store, str, None] = ..., *,
           socket: Optional[_Path] = ..., file: Optional[_Path] = ..., timeout: Optional[float] = ...,
           allow_unsealed: bool = ..., verify: bool = ..., populate: bool = ...) -> List[str]: ...
def library_version() -> str: ...
