# SPDX-License-Identifier: MIT
"""GPT-2's token and position tables, shared between processes: libgpt2client for Python.

    import gpt2client

    with gpt2client.open() as store:    # the daemon's only model; or open('gpt2'), open(file=...)
        hidden = store.embed([[15496, 11, 995]])    # [batch, seq, n_embd] float32
        wte = store.tensor('wte.weight')    # [n_vocab, n_embd], where it lies: no copy

    shared = gpt2client.attach(model)           # a PyTorch GPT-2 takes its tables from the store

Nothing but the library is needed; NumPy and PyTorch are used where they are installed, and imported when
they are first needed. The library is looked for at $GPT2CLIENT_LIBRARY, where the dynamic linker looks,
and in the lib folder that this file was installed under.

Lifetime: arrays and tensors keep the image that they lie in, also after close() and refresh(). Views of
them do too. Only the last one's end unmaps it.

Threads: a store may be used from any number of them, also while one of them closes or refreshes it; each
call works on the generation that was open when it began. The interpreter's lock is released while rows
are gathered. Ids are copied first, so another thread that changes them meanwhile does no harm.

fork: a store works in the child as in the parent, with no further step; what either writes to a writable
store's tensors, the other does not see. pickle: a store is opened again, by the same name, where it is
unpickled, and so may be of another generation.

Errors: gpt2client.Error, whatever went wrong, but for MemoryError. Without the library the import is an
ImportError.
"""
import array
import ctypes
import math
import operator
import os
import sys
from enum import IntEnum
from typing import NamedTuple, Optional

__version__ = '0.2.0'
# and Embedding, once PyTorch is needed
__all__ = ['Error', 'Info', 'State', 'Store', 'attach', 'library_version', 'open']

# The codes of gpt2client.h.
E_ARGUMENT = -1
E_MEMORY = -2
E_SYSTEM = -3
E_ID = -10
E_POSITION = -11
E_SIZE = -12
E_NO_TENSOR = -13
E_NO_DAEMON = -20
E_ACCESS = -21
E_TIMEOUT = -22
E_LOADING = -23
E_NO_MODEL = -24
E_LOAD_FAILED = -25
E_REFUSED = -26
E_PROTOCOL = -27
E_CLOSED = -28
E_UNSEALED = -30
E_IMAGE = -31
E_NOT_FOUND = -40
E_NOT_A_PACK = -41
E_VERSION = -42
E_TRUNCATED = -43
E_CORRUPT = -44
E_MALFORMED = -45
__all__ += [_name for _name in dir() if _name.startswith('E_')]

_ALLOW_UNSEALED, _COPY_ON_WRITE, _NO_VERIFY, _POPULATE = 1, 2, 4, 8
_INFO_SEALED, _INFO_DAEMON, _INFO_VERIFIED, _INFO_EXPANDED = 1, 2, 4, 8
_MAX_RANK = 8

# dtype in a pack: its name, the size of an element, and what NumPy and PyTorch call it
_DTYPES = {
    1: ('f32', 4, 'float32', 'float32'),
    2: ('f16', 2, 'float16', 'float16'),
    3: ('bf16', 2, 'uint16', 'bfloat16'),  # NumPy has no bfloat16
    4: ('i8', 1, 'int8', 'int8'),
}


class State(IntEnum):
    """Whether a store's weights are the ones that are served now."""
    CURRENT = 0
    SUPERSEDED = 1  # the daemon serves another generation, or none, under this name: refresh()
    ORPHANED = 2  # the daemon is gone; what is open stays valid


class Error(Exception):
    """What went wrong, as the C library tells it.

    message  one sentence
    code     one of gpt2client.E_...
    index    of the id or position at fault (b*seq+t), or the byte offset in a file; else None
    errno    of the system call at fault; else None
    """

    def __init__(self, message, code=E_ARGUMENT, index=None, errno=None):
        super().__init__(message, code, index, errno)
        self.message, self.code, self.index, self.errno = message, code, index, errno

    def __str__(self):
        return self.message


class Info(NamedTuple):
    """What is open; the fields of gpt2c_info."""
    n_vocab: int
    n_positions: int  # 0: no position table
    n_embd: int
    n_layer: int  # 0: unknown
    n_head: int  # 0: unknown
    n_tensors: int
    generation: int  # 0: a file
    content_id: str  # equal for equal tensors, whoever packed them
    wte_dtype: str  # 'f32', 'f16', 'bf16' or 'i8'
    wpe_dtype: Optional[str]
    sealed: bool  # nothing can change or truncate the image
    daemon: bool  # attached to a daemon, not opened as a file
    verified: bool  # every byte was checked
    image_bytes: int
    expanded: bool  # a compressed pack, expanded into this process's own memory


class _CError(ctypes.Structure):
    _fields_ = [('size', ctypes.c_uint64), ('code', ctypes.c_int32), ('sys_errno', ctypes.c_int32),
                ('index', ctypes.c_int64), ('message', ctypes.c_char * 256)]


class _COptions(ctypes.Structure):
    _fields_ = [('size', ctypes.c_uint64), ('socket_path', ctypes.c_char_p),
                ('model', ctypes.c_char_p), ('file', ctypes.c_char_p),
                ('timeout_ms', ctypes.c_uint64), ('flags', ctypes.c_uint64)]


class _CInfo(ctypes.Structure):
    _fields_ = [('size', ctypes.c_uint64), ('n_vocab', ctypes.c_uint64),
                ('n_positions', ctypes.c_uint64), ('n_embd', ctypes.c_uint64),
                ('n_layer', ctypes.c_uint64), ('n_head', ctypes.c_uint64),
                ('n_tensors', ctypes.c_uint64), ('generation', ctypes.c_uint64),
                ('content_id', ctypes.c_uint8 * 16), ('wte_dtype', ctypes.c_uint32),
                ('wpe_dtype', ctypes.c_uint32), ('flags', ctypes.c_uint32),
                ('reserved', ctypes.c_uint32), ('image_bytes', ctypes.c_uint64)]


class _CTensor(ctypes.Structure):
    _fields_ = [('size', ctypes.c_uint64), ('name', ctypes.c_char_p), ('data', ctypes.c_void_p),
                ('scales', ctypes.c_void_p), ('dtype', ctypes.c_uint32), ('rank', ctypes.c_uint32),
                ('shape', ctypes.c_uint64 * _MAX_RANK), ('row_bytes', ctypes.c_uint64)]


_SINCE_0_2 = ('gpt2c_refresh', 'gpt2c_verify_rows', 'gpt2c_embed_part', 'gpt2c_prefetch')


def _bind(library):
    """Declares the functions. Those of releases after 0.1.0 may be missing, see _newer()."""
    store, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    pointer, error, integer = ctypes.c_void_p, ctypes.POINTER(_CError), ctypes.c_int
    stores, info, tensor = (ctypes.POINTER(kind) for kind in (store, _CInfo, _CTensor))
    functions = {
        'gpt2c_open_with': (integer, [ctypes.POINTER(_COptions), stores, error]),
        'gpt2c_close': (None, [store]),
        'gpt2c_get_info': (integer, [store, info]),
        'gpt2c_get_tensor': (integer, [store, text, tensor]),
        'gpt2c_get_tensor_at': (integer, [store, ctypes.c_uint64, tensor]),
        'gpt2c_state': (integer, [store]),
        'gpt2c_get_fd': (integer, [store]),
        'gpt2c_strerror': (text, [integer]),
        'gpt2c_version': (text, []),
        'gpt2c_embed': (integer, [store, pointer, size, size, size, pointer, error]),
        'gpt2c_embed_at': (integer, [store, pointer, pointer, size, pointer, error]),
        'gpt2c_refresh': (integer, [store, stores, error]),
        'gpt2c_verify_rows': (integer, [store, text, ctypes.c_uint64, ctypes.c_uint64, error]),
        'gpt2c_embed_part': (integer, [store, pointer, size, size, size, pointer, size, size, error]),
        'gpt2c_prefetch': (integer, [store, pointer, size]),
    }
    for name, (result, arguments) in functions.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            if name not in _SINCE_0_2:
                raise ImportError(f'{library._name} is no libgpt2client: it has no {name}') from None
            continue
        function.restype, function.argtypes = result, arguments
    return library


def _load():
    """CDLL, which releases the interpreter's lock in every call."""
    name = os.environ.get('GPT2CLIENT_LIBRARY')
    # PREFIX/lib/python3.11/dist-packages/gpt2client.py: the linker may not know PREFIX/lib
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..',
                          'libgpt2client.so.0')
    causes = []
    for path in [name] if name else ['libgpt2client.so.0', os.path.normpath(beside)]:
        try:
            return _bind(ctypes.CDLL(path))
        except OSError as cause:
            causes.append(str(cause))
    raise ImportError('cannot load libgpt2client (is it installed, and ldconfig run? '
                      f'$GPT2CLIENT_LIBRARY may name it): {"; ".join(causes)}')


_lib = _load()
_from_buffer, _byref = ctypes.c_char.from_buffer, ctypes.byref
_np = None  # NumPy once it was needed; False: not installed
_ndarray = _int32 = _int64 = _float32 = None  # its array and dtypes


def library_version():
    """The C library's version, 'MAJOR.MINOR.PATCH'."""
    return _lib.gpt2c_version().decode()


def _newer(name):
    """A function that older libraries do not have."""
    try:
        return getattr(_lib, name)
    except AttributeError:
        raise Error(f'libgpt2client {library_version()} has no {name}: install a newer one') from None


def _numpy():
    global _np, _ndarray, _int32, _int64, _float32
    if _np is None:
        try:
            import numpy
        except ImportError:
            _np = False
        else:
            _int32, _int64, _float32 = map(numpy.dtype, ('int32', 'int64', 'float32'))
            _np, _ndarray = numpy, numpy.ndarray
    return _np


def _need_numpy(what):
    numpy = _numpy()
    if not numpy:
        raise Error(f'{what} needs NumPy, which is not installed')
    return numpy


def _need_torch(what):
    try:
        import torch
    except ImportError:
        raise Error(f'{what} needs PyTorch, which is not installed') from None
    return torch


def _is_torch(value):
    """Whether value is a PyTorch tensor; imports nothing."""
    torch = sys.modules.get('torch')
    return torch is not None and isinstance(value, getattr(torch, 'Tensor', ()))


def _dtype(number):
    if number not in _DTYPES:
        raise Error(f'a table of the type {number}, which this version does not know', E_VERSION)
    return _DTYPES[number]


def _c_error():
    return _CError(size=ctypes.sizeof(_CError), index=-1)


def _error_of(code, error, more=''):
    """The exception for a failed call; more: to add to its sentence."""
    message = error.message.decode(errors='replace') or _lib.gpt2c_strerror(code).decode()
    return Error(message + more, code, None if error.index < 0 else error.index, error.sys_errno or None)


class _Handle:
    """A reference to a C store. Whoever needs the image keeps this; its end drops the reference."""
    __slots__ = ('pointer', 'info', 'row_shape', 'tables')

    def __init__(self, pointer):
        self.pointer = pointer
        self.info = self._read_info()
        self.row_shape = (self.info.n_embd,)
        # (from, to) of what embed reads
        self.tables = [(table.data, table.data + table.data_bytes) for table in
                       map(self.find, self._table_names())]

    def __del__(self, close=_lib.gpt2c_close):
        close(self.pointer)

    def _table_names(self):
        return ['wte.weight', 'wpe.weight'] if self.info.n_positions else ['wte.weight']

    def _read_info(self):
        info = _CInfo(size=ctypes.sizeof(_CInfo))
        _lib.gpt2c_get_info(self.pointer, info)
        return Info(info.n_vocab, info.n_positions, info.n_embd, info.n_layer, info.n_head,
                    info.n_tensors, info.generation, bytes(info.content_id).hex(),
                    *(_dtype(number)[0] if number else None
                      for number in (info.wte_dtype, info.wpe_dtype)),
                    bool(info.flags & _INFO_SEALED), bool(info.flags & _INFO_DAEMON),
                    bool(info.flags & _INFO_VERIFIED), info.image_bytes,
                    bool(info.flags & _INFO_EXPANDED))

    def keys(self):
        names = []
        for index in range(self.info.n_tensors):
            tensor = _CTensor(size=ctypes.sizeof(_CTensor))
            _lib.gpt2c_get_tensor_at(self.pointer, index, tensor)
            names.append(tensor.name.decode())
        return names

    def find(self, name):
        if not isinstance(name, str):
            raise Error(f'a tensor is named by a str, not by {type(name).__name__}')
        tensor = _CTensor(size=ctypes.sizeof(_CTensor))
        found = '\0' not in name and \
            _lib.gpt2c_get_tensor(self.pointer, name.encode(errors='replace'), tensor) == 0
        if not found:
            names = self.keys()
            some = ', '.join(names[:8]) + (', ...' if len(names) > 8 else '')
            raise Error(f'there is no tensor {name!r}; there are {some}', E_NO_TENSOR)
        return _Tensor(self, tensor)


class _Memory:
    """A part of the image, as NumPy asks for it. An array's base: keeps the image, and having no buffer
    to write to, keeps a read-only array from being made writable (a memoryview does not, tried)."""
    __slots__ = ('__array_interface__', 'handle')
    TYPES = {'float32': '<f4', 'float16': '<f2', 'uint16': '<u2', 'int8': '|i1'}

    def __init__(self, handle, address, dtype, shape, strides, writable):
        self.handle = handle
        self.__array_interface__ = {
            'version': 3, 'data': (address, not writable), 'typestr': self.TYPES[dtype],
            'shape': shape, 'strides': strides}


class _Tensor:
    """One tensor where it lies, and how to see it with NumPy and PyTorch."""

    def __init__(self, handle, tensor):
        self.handle, self.data, self.scales_at = handle, tensor.data, tensor.scales
        self.dtype, self.item_bytes, self.numpy_name, self.torch_name = _dtype(tensor.dtype)
        self.shape = tuple(tensor.shape[:tensor.rank])
        self.data_bytes = math.prod(self.shape[:-1]) * tensor.row_bytes
        # rows may be padded; all other dimensions lie close
        strides, step = [self.item_bytes], tensor.row_bytes
        for length in self.shape[-2:0:-1]:
            strides.append(step)
            step *= length
        if len(self.shape) > 1:
            strides.append(step)
        self.strides = tuple(reversed(strides)) if self.shape else ()

    def to_numpy(self, numpy, writable):
        return numpy.asarray(_Memory(self.handle, self.data, self.numpy_name, self.shape, self.strides,
                                     writable))

    def scales_to_numpy(self, numpy, writable):
        """Of int8: [...] of the tensor's shape [..., n]."""
        return numpy.asarray(_Memory(self.handle, self.scales_at, 'float32', self.shape[:-1], None,
                                     writable))

    def widened(self, numpy):
        """A copy in f32, exact but for int8, which is rounded once; f32 itself is not copied."""
        values = self.to_numpy(numpy, False)
        if self.dtype == 'bf16':
            wide = values.astype('uint32')
            wide <<= 16
            return wide.view('float32')
        if self.dtype == 'i8':
            wide = values.astype('float32')
            wide *= self.scales_to_numpy(numpy, False)[..., None] if self.shape else \
                self.scales_to_numpy(numpy, False)
            return wide
        return values.astype('float32', copy=False)

    def to_torch(self, torch):
        dtype = getattr(torch, self.torch_name)
        memory = (ctypes.c_char * self.data_bytes).from_address(self.data)
        memory.handle = self.handle  # PyTorch keeps memory, memory keeps the image
        flat = torch.frombuffer(memory, dtype=dtype)
        return flat.as_strided(self.shape, [step // self.item_bytes for step in self.strides])


class _Ids(NamedTuple):
    """int32 in memory of our own, which nobody else changes."""
    values: object  # keeps what lies at address
    address: int
    shape: tuple
    given: object  # the NumPy array it was copied from, or None


def _no_such(what, value, index, count):
    """The sentence of the C library, for numbers that it is not given."""
    one = what[:-1]
    models = f'the model has {count} {what} (0 to {count - 1})' if count else \
        'the model has no position table; positions must be NULL'
    return Error(f'{one} {value} of token {index} does not exist: {models}',
                 E_ID if what == 'ids' else E_POSITION, index)


def _first_wrong(values, what, count):
    """The error for the first of an array's elements that is none of 0 ... count-1."""
    flat = values.ravel()
    index = int(((flat < 0) | (flat >= count)).argmax())
    return _no_such(what, int(flat[index]), index, count)


def _ids_of_list(values, what, count):
    """Of nested lists, with any contents."""
    shape = (len(values),)
    if values and all(isinstance(row, (list, tuple)) for row in values):
        shape += (len(values[0]),)
        if any(len(row) != shape[1] for row in values):
            raise Error(f'{what} have rows of different lengths')
        values = [value for row in values for value in row]
    for index, value in enumerate(values):
        if isinstance(value, bool) or not hasattr(value, '__index__'):
            raise Error(f'{what} must be integers, not {type(value).__name__}', index=index)
        if not 0 <= operator.index(value) < count:
            raise _no_such(what, operator.index(value), index, count)
    narrow = array.array('i', values)
    return _Ids(narrow, narrow.buffer_info()[0], shape, None)


def _array_of(ids, what):
    """A NumPy array of what was given; None: a list that needs a closer look."""
    if _is_torch(ids):
        torch = sys.modules['torch']
        if ids.device.type != 'cpu':
            raise Error(f'{what} are on {ids.device}; the tables are in the memory of the CPU')
        if ids.layout != torch.strided or ids.dtype not in (torch.int32, torch.int64):
            raise Error(f'{what} must be int32 or int64, dense, not {ids.dtype}, {ids.layout}')
        return ids.detach().numpy()
    try:
        values = _numpy().asarray(ids)
    except (TypeError, ValueError, OverflowError) as cause:
        if isinstance(ids, (list, tuple)):
            return None
        raise Error(f'{what} are no integers: {cause}') from None
    if isinstance(ids, (list, tuple)) and values.dtype.kind != 'i':
        return None
    return values


def _to_ids(ids, what, count):
    """A copy of ids (or positions) as int32, of any shape. count: how many of them exist."""
    numpy = _numpy()
    if not numpy:
        if _is_torch(ids):
            _need_numpy(f'{what} in a tensor')
        if not isinstance(ids, (list, tuple, range, array.array)):
            raise Error(f'without NumPy, {what} must be a list, not {type(ids).__name__}')
        return _ids_of_list(list(ids), what, count)
    given = _array_of(ids, what)
    if given is None:
        return _ids_of_list(ids, what, count)
    if given.dtype.kind != 'i' or given.dtype.itemsize not in (4, 8):
        plain = given.dtype.kind in 'OSU' and not hasattr(ids, 'dtype')
        kind = type(ids).__name__ if plain else given.dtype
        raise Error(f'{what} must be int32 or int64, not {kind}')
    narrow = given.astype(numpy.int32, order='C', copy=True)
    if given.dtype.itemsize == 8 and numpy.count_nonzero(narrow != given):
        raise _first_wrong(given, what, count)
    return _Ids(narrow, narrow.ctypes.data, given.shape, given)


def _positions_for(positions, tokens, count):
    """One position per token: [batch, seq], or [seq] or [1, seq] for all sequences."""
    if count == 0:
        raise Error('the model has no position table; positions must be None or False', E_POSITION)
    found = _to_ids(positions, 'positions', count)
    seq = tokens.shape[-1:]
    if found.shape == tokens.shape:
        return found
    if found.shape not in (seq, (1,) + seq):
        raise Error(f'positions have the shape {list(found.shape)}, '
                    f'ids have {list(tokens.shape)}')
    # a list has become an array.array, for which * is repetition too
    repeats = math.prod(tokens.shape[:-1])
    if isinstance(found.values, array.array):
        values = found.values * repeats
        return _Ids(values, values.buffer_info()[0], tokens.shape, None)
    values = _np.tile(found.values.ravel(), repeats)
    return _Ids(values, values.ctypes.data, tokens.shape, found.given)


def _integer(value, what):
    try:
        return operator.index(value)
    except TypeError:
        raise Error(f'{what} must be an integer, not {type(value).__name__}') from None


def _past_of(past):
    past = _integer(past, 'past')
    if not 0 <= past < 1 << 63:
        raise Error(f'position {past} of token 0 does not exist', E_POSITION, 0)
    return past


def _new_output(shape, like_torch):
    """(array, its address, what keeps it)"""
    if like_torch:
        torch = sys.modules['torch']
        out = torch.empty(shape, dtype=torch.float32, device='cpu')  # whatever its default device is
        return out, out.data_ptr(), out
    if _numpy():
        out = _np.empty(shape, _np.float32)
        return out, out.ctypes.data, out
    memory = bytearray(4 * math.prod(shape))
    held = _from_buffer(memory)
    return memoryview(memory).cast('f', shape), ctypes.addressof(held), held


def _torch_output(out):
    if out.device.type != 'cpu' or str(out.layout) != 'torch.strided':
        raise Error(f'out is on {out.device}, {out.layout}; a dense tensor on the CPU is needed')
    if out.requires_grad:
        raise Error('out requires a gradient; rows are gathered without one')
    return out.detach().numpy()


def _given_output(out, shape, inputs, handle):
    """(out, its address, what keeps it) once everything about it has been checked."""
    try:
        view = memoryview(_torch_output(out) if _is_torch(out) else out)
    except (TypeError, ValueError, RuntimeError, BufferError) as cause:
        raise Error(f'out is no array of float32: {cause}') from None
    if view.format not in ('f', '=f', '<f'):
        raise Error(f'out must be float32, its elements are of the type {view.format!r}')
    if view.shape != shape:
        raise Error(f'out has the shape {list(view.shape)} instead of {list(shape)}')
    if view.readonly:
        raise Error('out is read-only')
    if not view.c_contiguous:
        raise Error('out is not contiguous in row-major order')
    held = _from_buffer(view)
    address, end = ctypes.addressof(held), ctypes.addressof(held) + view.nbytes
    if address % 4:
        raise Error('out is not aligned as a float32')
    if any(address < to and start < end for start, to in handle.tables):
        raise Error('out overlaps the tables themselves')
    for what, ids in inputs:
        if ids is not None and ids.given is not None and \
                _np.may_share_memory(_np.asarray(view), ids.given):
            raise Error(f'out overlaps {what}')
    return out, address, held


def _embed_usual(handle, ids, past, positions, out):
    """What Store._embed() does, for arrays as they usually are; None: they are not, or something is
    wrong, which _embed() is to find. Gathering megabytes takes Python's own memory out of the caches, so
    that every step here counts: these cost 15 us beside a call of 370 us, those of _embed() 60."""
    if type(ids) is not _ndarray or (positions is not None and (positions is not False or past)) or not 1 <= ids.ndim <= 2 or \
            type(past) is not int or not 0 <= past < 1 << 63:
        return None
    shape = ids.shape + handle.row_shape
    try:
        if ids.dtype is _int64:
            halves = ids.view(_int32)
            narrow = halves[..., ::2].copy()
            if _np.count_nonzero(halves[..., 1::2]):
                return None
        elif ids.dtype is _int32:
            narrow = ids.copy()
        else:
            return None
        if out is None:
            out = _np.empty(shape, _float32)
        elif type(out) is not _ndarray or out.dtype is not _float32 or out.shape != shape or \
                _np.may_share_memory(out, ids):
            return None
        # refuses what is empty, read-only or not contiguous
        held_ids, held_out = _from_buffer(narrow), _from_buffer(out)
    except (TypeError, ValueError):
        return None
    seq, ids_at, out_at = shape[-2], _byref(held_ids), _byref(held_out)
    if positions is None:
        code = _lib.gpt2c_embed(handle.pointer, ids_at, narrow.size // seq, seq, past, out_at, None)
    else:
        code = _lib.gpt2c_embed_at(handle.pointer, ids_at, None, narrow.size, out_at, None)
    return None if code else out


def _embed_tensor(handle, ids, past, positions, out):
    """The same for PyTorch's tensors."""
    try:
        given, shape = ids.numpy(), ids.shape + handle.row_shape
        result = _new_output(shape, True)[0] if out is None else out
        array = result.numpy() if type(result) is type(ids) else result
    except (TypeError, RuntimeError):
        return None
    return None if _embed_usual(handle, given, past, positions, array) is None else result


def _timeout_ms(timeout):
    if timeout is None:
        return 0
    try:
        milliseconds = math.ceil(timeout * 1000)
    except (TypeError, ValueError, OverflowError):
        raise Error(f'timeout must be a number of seconds, not {timeout!r}') from None
    if milliseconds <= 0:
        raise Error(f'timeout must be more than 0 seconds, not {timeout!r}')
    return min(milliseconds, (1 << 64) - 1)


def _c_text(value, what, encode):
    if value is None:
        return None
    try:
        text = encode(value)
    except (TypeError, AttributeError, UnicodeError):
        raise Error(f'{what} must be a name, not {value!r}') from None
    if b'\0' in text:
        raise Error(f'{what} contains a NUL: {value!r}')
    return text


def _absolute(path):
    return None if path is None else os.path.abspath(path)


def _reopen(model, options):
    return Store(model, **options)


class Store:
    """A model's tables, attached to a daemon or opened from a pack. gpt2client.open() makes one."""

    def __init__(self, model=None, *, socket=None, file=None, timeout=None, writable=False,
                 allow_unsealed=False, verify=True, populate=False):
        self._handle = None
        c_options = _COptions(
            ctypes.sizeof(_COptions), _c_text(socket, 'socket', os.fsencode),
            _c_text(model, 'model', str.encode), _c_text(file, 'file', os.fsencode),
            _timeout_ms(timeout),
            (_ALLOW_UNSEALED if allow_unsealed else 0) | (_COPY_ON_WRITE if writable else 0) |
            (0 if verify else _NO_VERIFY) | (_POPULATE if populate else 0))
        if file is not None and not (model is socket is None):
            raise Error('a file is opened without a daemon: no model and no socket can be given')
        pointer, error = ctypes.c_void_p(), _c_error()
        code = _lib.gpt2c_open_with(c_options, pointer, error)
        if code:
            pack = model is not None and (os.sep in model or model.endswith('.gpt2w'))
            raise _error_of(code, error, '; a pack is opened with file=' if pack else '')
        self._handle = _Handle(pointer.value)
        self._writable, self._model = bool(writable), model
        # what pickle repeats, perhaps in another folder
        self._options = {
            'socket': _absolute(socket), 'file': _absolute(file), 'timeout': timeout,
            'writable': bool(writable), 'allow_unsealed': bool(allow_unsealed),
            'verify': bool(verify), 'populate': bool(populate)}

    def _live(self):
        handle = self._handle
        if handle is None:
            raise Error('the store is closed')
        return handle

    def __enter__(self):
        self._live()
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Lets go. Arrays and tensors stay valid, and keep the image as long as one of them is there."""
        self._handle = None

    def __reduce__(self):
        self._live()
        return _reopen, (self._model, self._options)

    def __repr__(self):
        handle = self._handle
        if handle is None:
            return '<gpt2client.Store, closed>'
        info = handle.info
        name = self._options['file'] or self._model or 'the only model'
        return (f'<gpt2client.Store of {name}: generation {info.generation}, '
                f'{info.n_vocab} + {info.n_positions} rows of {info.n_embd} {info.wte_dtype}>')

    @property
    def closed(self):
        return self._handle is None

    @property
    def writable(self):
        """Whether it was opened to be written to; writes stay in this process."""
        return self._writable

    @property
    def info(self):
        """Sizes, types, generation: an Info."""
        return self._live().info

    @property
    def state(self):
        """State.CURRENT, SUPERSEDED or ORPHANED: one load from memory, no system call."""
        handle = self._live()
        return State(_lib.gpt2c_state(handle.pointer))

    def fileno(self):
        """The connection, for select and asyncio: readable when there is news (look at state then)."""
        handle = self._live()
        fd = _lib.gpt2c_get_fd(handle.pointer)
        if fd < 0:
            raise Error('a file has no connection to wait on')
        return fd

    def keys(self):
        """Names of all tensors, in ascending order."""
        return self._live().keys()

    def tensor(self, name, *, widen=False):
        """The tensor as a NumPy array, where it lies: no copy, and read-only unless the store was opened
        with writable=True.

        NumPy has no bfloat16: bf16 comes as its bits in uint16. int8 comes as it is, see scales().
        widen=True gives float32, for which all types but f32 are copied.
        """
        numpy = _need_numpy('tensor()')
        found = self._live().find(name)
        if widen and found.dtype != 'f32':
            return found.widened(numpy)
        return found.to_numpy(numpy, self._writable)

    get_tensor = tensor  # as safetensors calls it

    def scales(self, name):
        """Of an int8 tensor [..., n]: one float32 per row [...], where they lie. A value is
        q * scale, rounded once to float32. None for a tensor of another type."""
        numpy = _need_numpy('scales()')
        found = self._live().find(name)
        return found.scales_to_numpy(numpy, self._writable) if found.dtype == 'i8' else None

    def torch(self, name):
        """The tensor as a PyTorch tensor, where it lies, in its own dtype. PyTorch has no read-only
        tensors: the store must be open with writable=True. A page that is written to becomes this
        process's own copy; nobody else sees the write."""
        torch = _need_torch('torch()')
        found = self._live().find(name)
        if not self._writable:
            raise Error('PyTorch has no read-only tensors: open the store with writable=True, which '
                        'maps it copy-on-write')
        return found.to_torch(torch)

    def rows(self, ids):
        """Rows of wte where they lie: for ids [n] a list of n views of n_embd elements, for
        [batch, seq] a list of such lists. No copy; types as in tensor(). For one array with a copy of
        the rows, index tensor('wte.weight')."""
        handle = self._live()
        table = handle.find('wte.weight').to_numpy(_need_numpy('rows()'), self._writable)
        tokens = self._tokens(ids, handle)
        flat = [int(token) for token in tokens.values.ravel()] \
            if not isinstance(tokens.values, array.array) else tokens.values
        for index, token in enumerate(flat):
            if not 0 <= token < len(table):
                raise _no_such('ids', token, index, len(table))
        views = [table[token] for token in flat]
        if len(tokens.shape) == 1:
            return views
        batch, seq = tokens.shape
        return [views[i * seq:(i + 1) * seq] for i in range(batch)]

    def embed(self, ids, past=0, positions=None, out=None):
        """GPT-2's input embeddings: wte[ids[b,t]] + wpe[past+t], float32 [batch, seq, n_embd].

        ids        [batch, seq] or [seq], int32 or int64: a NumPy array with any strides, a PyTorch tensor,
                   a list; each 0 ... n_vocab-1
        past       number of tokens that are in the cache already
        positions  [batch, seq], [1, seq] or [seq]: one position per token, for left-padded batches, in
                   place of past; False: none, token embeddings alone
        out        where to put them: float32, of the result's shape, contiguous, and nothing that is read

        Returns out, or a new PyTorch tensor for ids in one, or else a new NumPy array (a memoryview where
        NumPy is not installed). Where malloc has to take new memory's pages from the kernel, as it does for
        each result of more than 32 MiB, these cost more than the rows: loops should give out. A pack without a position table gives the token embeddings. Tables of
        other types are widened. After an error out is as it was.
        """
        handle = self._live()
        if out is None or not self._writable:
            usual = _embed_tensor if _is_torch(ids) else _embed_usual
            found = usual(handle, ids, past, positions, out)
            if found is not None:
                return found
        return self._embed(handle, ids, self._tokens(ids, handle), past, positions, out)

    @staticmethod
    def _tokens(ids, handle):
        tokens = _to_ids(ids, 'ids', handle.info.n_vocab)
        if len(tokens.shape) not in (1, 2):
            raise Error(f'ids must be [batch, seq] or [seq], not of shape {list(tokens.shape)}')
        return tokens

    @staticmethod
    def _embed(handle, ids, tokens, past, positions, out, parts=()):
        """tokens: ids, as _Ids of one dimension or more. parts: which one, and of how many."""
        past, places = _past_of(past), None
        seq, n = tokens.shape[-1], math.prod(tokens.shape)
        if n == 0:
            raise Error('there are no tokens', E_SIZE)
        if positions is not None:
            if past:
                raise Error('past and positions exclude each other')
            if positions is not False:
                places = _positions_for(positions, tokens, handle.info.n_positions)
        shape = tokens.shape + (handle.info.n_embd,)
        if out is None:
            out, address, held = _new_output(shape, _is_torch(ids))
        else:
            out, address, held = _given_output(
                out, shape, [('ids', tokens), ('positions', places)], handle)
        error = _c_error()
        if parts:
            code = _newer('gpt2c_embed_part')(handle.pointer, tokens.address, n // seq, seq, past,
                                              address, *parts, error)
        elif positions is None:
            code = _lib.gpt2c_embed(handle.pointer, tokens.address, n // seq, seq, past, address,
                                    error)
        else:
            code = _lib.gpt2c_embed_at(handle.pointer, tokens.address, places and places.address, n,
                                       address, error)
        del held
        if code:
            raise _error_of(code, error)
        return out

    def embed_part(self, ids, part, n_parts, past=0, *, out):
        """One part of embed(ids, past, out=out), for a thread of the caller's: parts 0 ... n_parts-1, in any
        order or at once, together fill out. Each checks everything, so all of them fail alike. Returns
        out.

            with ThreadPoolExecutor(n) as pool:
                list(pool.map(lambda part: store.embed_part(ids, part, n, out=out), range(n)))
        """
        handle = self._live()
        part, n_parts = _integer(part, 'part'), _integer(n_parts, 'n_parts')
        if not 0 <= part < n_parts < 1 << 64:
            raise Error(f'there is no part {part} of {n_parts}')
        if out is None:
            raise Error('out is needed: parts put their rows into one array')
        return self._embed(handle, ids, self._tokens(ids, handle), past, None, out, (part, n_parts))

    def prefetch(self, ids):
        """Starts wte's rows of ids, of any shape, on their way into this core's L2 cache, which has room
        for some dozens to hundreds of them, and does not wait. No ids are fine."""
        handle = self._live()
        tokens = _to_ids(ids, 'ids', handle.info.n_vocab)
        code = _newer('gpt2c_prefetch')(handle.pointer, tokens.address, math.prod(tokens.shape))
        if code == E_ID:
            raise _first_wrong(tokens.values, 'ids', handle.info.n_vocab)
        if code:
            raise _error_of(code, _c_error())

    def verify_rows(self, name, first=0, n=None):
        """Checks n rows of a tensor, from row first on (None: all from there), against the pack's digests:
        for files opened with verify=False. Reads blocks of 256 KiB whole. A bad one is E_CORRUPT, index its
        offset in the image; so are rows that this process has written to. It says nothing about later,
        where others can write to the file."""
        handle = self._live()
        shape, first = handle.find(name).shape, _integer(first, 'first')
        rows = math.prod(shape[:-1])
        n = rows - first if n is None else _integer(n, 'n')
        if first < 0 or n < 1 or first + n > rows:
            raise Error(f'{n} rows from {first} on: the tensor has {rows} rows', E_SIZE)
        error = _c_error()
        code = _newer('gpt2c_verify_rows')(handle.pointer, name.encode(), first, n, error)
        if code:
            raise _error_of(code, error)

    def refresh(self):
        """Attaches anew and goes on with the current generation; True if it is another one. What was
        taken from the store before keeps what it has: arrays, and models that attach() was called for.
        After an error, such as a daemon that is gone, the store is as it was."""
        handle = self._live()
        pointer, error = ctypes.c_void_p(), _c_error()
        code = _newer('gpt2c_refresh')(handle.pointer, pointer, error)
        if code:
            raise _error_of(code, error)
        fresh = _Handle(pointer.value)
        if self._handle is not None:  # closed meanwhile
            self._handle = fresh
        return fresh.info.generation != handle.info.generation

    def attach(self, model):
        """Puts this store's tables into a PyTorch model, see gpt2client.attach()."""
        torch = _need_torch('attach()')
        parameters = _parameters(model, torch)
        found = {name: tensor for name, tensor in
                 ((name, _the_parameter(parameters, name)) for name in ('wte.weight', 'wpe.weight'))
                 if tensor is not None}
        if 'wte.weight' not in found:
            raise Error('the model has no parameter called wte.weight, alone or after a dot')
        keys = self.keys()
        shared = {name: self.torch(name) for name in found if name in keys}
        for name, tensor in shared.items():
            _check_parameter(name, found[name], tensor)
        return [done for name, tensor in shared.items()
                for done in _replace(torch, parameters, found[name], tensor)]


def _parameters(model, torch):
    """[(name, module, key, parameter)], each under all of its names."""
    if not isinstance(model, torch.nn.Module):
        raise Error(f'a torch.nn.Module is needed, not {type(model).__name__}')
    return [(f'{path}.{key}' if path else key, module, key, parameter)
            for path, module in model.named_modules(remove_duplicate=False)
            for key, parameter in module._parameters.items() if parameter is not None]


def _same(one, other):
    """Whether two parameters are tied: one object, or two over the same memory."""
    return one is other or (
        one.device == other.device and one.device.type == 'cpu' and one.shape == other.shape and
        one.dtype == other.dtype and one.numel() > 0 and one.data_ptr() == other.data_ptr())


def _the_parameter(parameters, name):
    """The only one of that name, after any prefix; None: there is none."""
    found = [(path, parameter) for path, _, _, parameter in parameters
             if path == name or path.endswith('.' + name)]
    for path, parameter in found[1:]:
        if not _same(found[0][1], parameter):
            raise Error(f'the model has several of {name}: {found[0][0]} and {path}; '
                        'attach one part of it at a time')
    return found[0][1] if found else None


def _check_parameter(name, parameter, tensor):
    if not tensor.is_floating_point():
        raise Error(f'{name} is int8 with scales in the store, which no parameter can be: use '
                    'gpt2client.Embedding, or a pack of the model\'s type (gpt2-pack --dtype)')
    if parameter.shape != tensor.shape:
        raise Error(f'{name} is {list(parameter.shape)} in the model and {list(tensor.shape)} in the '
                    'store')
    if parameter.dtype != tensor.dtype:
        raise Error(f'{name} is {parameter.dtype} in the model and {tensor.dtype} in the store; convert '
                    'the model with .to(), or make a pack of the model\'s type (gpt2-pack --dtype)')
    if parameter.device.type not in ('cpu', 'meta'):
        raise Error(f'{name} is on {parameter.device}; shared tables are in the memory of the CPU')


def _replace(torch, parameters, old, tensor):
    """Puts tensor where old and what is tied to it are; all of their names."""
    tied = [entry for entry in parameters if _same(entry[3], old)]
    fresh = torch.nn.Parameter(tensor, requires_grad=old.requires_grad)
    for _, module, key, parameter in tied:
        if parameter.device.type == 'meta':
            module._parameters[key] = fresh  # such a one cannot take memory
        else:
            parameter.data = tensor  # stays the same object, for an optimizer and other holders
    return [path for path, _, _, _ in tied]


def open(model=None, *, socket=None, file=None, timeout=None, writable=False, allow_unsealed=False,
         verify=True, populate=False):
    """Attaches to a model of a daemon, or opens a pack: a Store, which is a context manager.

    model           its name; None: the only one served
    socket          the daemon's socket; None: $GPT2D_SOCKET, else $XDG_RUNTIME_DIR/gpt2d.sock where it
                    exists, else /run/gpt2d/gpt2d.sock
    file            open this pack, without a daemon
    timeout         seconds for the whole call; None: 5 for the daemon and 60 for a model that is loading
    writable        map copy-on-write: arrays may be written to, PyTorch tensors can be had; writes stay in
                    this process
    allow_unsealed  accept a daemon that shares the pack's own file
    verify          check every byte of a file; False: its metadata alone, see Store.verify_rows()
    populate        touch all pages at once
    """
    return Store(model, socket=socket, file=file, timeout=timeout, writable=writable,
                 allow_unsealed=allow_unsealed, verify=verify, populate=populate)


def attach(model, store=None, **options):
    """Puts the shared tables into a PyTorch GPT-2: transformers', nanoGPT's, or any module with
    parameters called wte.weight and wpe.weight after any prefix. An output head that is tied to wte
    (lm_head) stays tied: it is the same tensor; one that is not tied is left alone.

    model    the module, with parameters on the CPU, or on the meta device
    store    a Store that was opened with writable=True, or the name of a model, None: the only one
    options  to open the store with, as those of open()

    It comes last: load_state_dict(), tie_weights() of another table, .to() and .half() put what they make
    into memory of this process alone, and what was shared no longer is.

    Returns the names of the parameters that are shared now. Shapes and types must agree; after an
    error the model is as it was. A table that the store does not have is left alone.
    """
    if isinstance(store, Store):
        if options:
            raise Error(f'the store is open already: {", ".join(options)} cannot be given')
        return store.attach(model)
    with open(store, **{'writable': True, **options}) as opened:
        return opened.attach(model)


def _make_embedding():
    """Embedding, which cannot be declared before PyTorch is there."""
    torch = _need_torch('Embedding')

    class Embedding(torch.nn.Module):
        """GPT-2's embedding layer in inference, as nn.Embedding: ids of any shape in, [..., n_embd]
        float32 out, without a gradient. It has no parameters: nothing to load, nothing in state_dict().
        What half() and to(dtype) ask for is what comes out, rounded once; ids and results are on the CPU.

        store      a Store; it need not be writable
        positions  True: wte[ids] + wpe[positions], the last dimension of ids being the sequence;
                   False: wte[ids], exactly as nn.Embedding
        """

        def __init__(self, store, positions=True):
            super().__init__()
            if not isinstance(store, Store):
                raise Error(f'a Store is needed, not {type(store).__name__}')
            info = store.info
            self.store, self.positions = store, bool(positions)
            self.num_embeddings, self.embedding_dim = info.n_vocab, info.n_embd
            self.padding_idx = None
            # a model that is converted converts its buffers: this one's type is the result's
            self.register_buffer('_like', torch.empty(0, dtype=torch.float32, device='cpu'),
                                 persistent=False)

        @property
        def weight(self):
            """wte where it lies; the store must be writable."""
            return self.store.torch('wte.weight')

        def forward(self, ids, past=0, positions=None):
            """past, positions: as in Store.embed()"""
            return self._gather(ids, past, positions).to(self._like.dtype)

        def _gather(self, ids, past, positions):
            if not _is_torch(ids):
                raise Error(f'ids must be a tensor, not {type(ids).__name__}')
            if not self.positions:
                if past or positions is not None:
                    raise Error('this module embeds without positions')
                positions = False
            handle = self.store._live()
            found = _embed_tensor(handle, ids, past, positions, None)
            if found is not None:
                return found
            if not ids.numel():
                return _new_output(ids.shape + handle.row_shape, True)[0]
            tokens = _to_ids(ids if ids.dim() else ids[None], 'ids', handle.info.n_vocab)
            found = self.store._embed(handle, ids, tokens, past, positions, None)
            return found if ids.dim() else found[0]

        def extra_repr(self):
            return f'{self.num_embeddings}, {self.embedding_dim}, positions={self.positions}'

    # where pickle finds it
    Embedding.__module__, Embedding.__qualname__ = __name__, 'Embedding'
    return Embedding


def __getattr__(name):
    if name != 'Embedding':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return globals().setdefault(name, _make_embedding())
