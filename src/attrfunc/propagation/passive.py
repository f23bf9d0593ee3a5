"""Operations that only say something about tensors, or move their numbers around: no rule book needs rules for these.

The gradient of a rearrangement puts whatever comes back, a gradient or a relevance, where it belongs.
"""

from attrfunc.core.model.visible import shifted
from attrfunc.propagation.names import Key, named_key, words

__all__ = ["COPIES", "LIKENED", "PASSIVE", "READING"]

# Reading: sizes and types. What they give has no gradient.
_READING = """
    get size dim ndimension numel nelement stride storage_offset element_size is_floating_point is_complex is_contiguous
    is_cuda is_cpu is_same_size is_tensor is_nonzero is_set_to is_pinned is_inference is_shared is_signed is_neg is_conj
    is_meta is_sparse is_quantized get_device device type len iter item tolist numpy format repr str bool int float hash
    index contains data_ptr storage untyped_storage result_type can_cast promote_types broadcast_shapes
    zeros ones full empty arange linspace eye rand randn randint randperm tensor as_tensor scalar_tensor
    zeros_like ones_like full_like empty_like rand_like randn_like randint_like new_zeros new_ones new_full new_empty
    new_tensor tril_indices triu_indices _set_grad_enabled set_grad_enabled is_grad_enabled requires_grad_ requires_grad
    set_requires_grad finfo iinfo meshgrid
    _assert _assert_async _check _has_torch_function
"""

# Deciding: truth values and indices, which depend on the operand's numbers.
_DECIDING = """
    eq ne lt le gt ge equal not_equal less less_equal greater greater_equal allclose isclose isnan isinf isfinite
    isreal isposinf isneginf all any logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not
    and or xor invert rand ror rxor argmax argmin argsort nonzero count_nonzero searchsorted bucketize unique histc
    multinomial bernoulli one_hot signbit
"""

# Rearranging: each number of the result is one of the operands', or a constant.
_REARRANGING = """
    view view_as reshape reshape_as flatten unflatten ravel squeeze unsqueeze permute transpose t adjoint swapaxes
    swapdims movedim moveaxis mT clone contiguous to cpu cuda double half bfloat16 float type_as to_dense alias
    positive pos expand expand_as broadcast_to broadcast_tensors repeat tile repeat_interleave atleast_1d atleast_2d
    atleast_3d
    getitem setitem copy select narrow index_select gather take take_along_dim masked_select diagonal diag diag_embed
    split chunk unbind unsafe_split unsafe_chunk split_with_sizes tensor_split hsplit vsplit dsplit
    cat stack hstack vstack dstack column_stack row_stack block_diag
    flip fliplr flipud roll rot90 pad tril triu as_strided unfold pixel_shuffle pixel_unshuffle channel_shuffle
    view_as_real view_as_complex real imag fill zero scatter slice_scatter select_scatter index_copy index_put
    index_fill resolve_conj resolve_neg refine_names rename lift_fresh detach detach_ data numpy_T H T complex put
    _pad_circular _pack_padded_sequence
    max_unpool1d max_unpool2d max_unpool3d _canonical_mask _mha_shape_check_ _none_or_dtype
"""

PASSIVE: frozenset[Key] = frozenset([*words(_READING + _DECIDING + _REARRANGING), named_key(shifted)])

READING: frozenset[Key] = frozenset(words(_READING)) - {"get"}
"""Those whose result has nothing to do with the operand's numbers."""

LIKENED: frozenset[Key] = frozenset(["to", "type_as", "view_as", "expand_as", "reshape_as"])
"""Those that only ask a second tensor for its type or shape."""

COPIES: frozenset[Key] = frozenset(["clone", "contiguous", named_key(shifted)])
"""Those whose result is the operand."""
