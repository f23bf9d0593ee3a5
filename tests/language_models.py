"""Small models with random weights, and tokenizers that are trained here: no model hub is reachable."""

import functools

import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers import models as kinds
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

CORPUS = [
    "The capital of France is Paris. The capital of Italy is Rome. What is the capital of Spain?",
    "Ann lives in Rome and loves the blue sky. The sky is not green, it's blue!",
    "A well-known cat sat on the mat. The dog didn't. Who sat on the mat, and why?",
] * 5
CHAT = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
SIZE = 384


@functools.cache
def byte_level(bos=False):
    """As GPT-2 and Llama 3 have it: bytes, with the space before a word in its token."""
    inner = Tokenizer(kinds.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|bos|>", "<|start|>", "<|end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=SIZE, special_tokens=special, initial_alphabet=alphabet)
    )
    inner.post_processor = processors.ByteLevel(trim_offsets=False)
    if bos:
        inner.post_processor = processors.TemplateProcessing(single="<|bos|> $A", special_tokens=[("<|bos|>", 1)])
    made = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|endoftext|>", bos_token="<|bos|>")
    made.add_special_tokens({"additional_special_tokens": ["<|start|>", "<|end|>"]})
    made.chat_template = CHAT
    return made


@functools.cache
def sentence_piece():
    """As T5 and Gemma have it: a mark for each space."""
    inner = Tokenizer(kinds.Unigram())
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    inner.train_from_iterator(
        CORPUS, trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>")
    )
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


@functools.cache
def word_piece():
    """As BERT has it."""
    inner = Tokenizer(kinds.WordPiece(unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    inner.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=special))
    marks = [("[CLS]", inner.token_to_id("[CLS]")), ("[SEP]", inner.token_to_id("[SEP]"))]
    inner.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=marks)
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, mask_token="[MASK]", **names)


def _spread(model, times=8):
    """Weights large enough that tokens matter."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "relative_attention" not in name:
                weight.mul_(times)
    return model.eval().requires_grad_(False)


@functools.cache
def llama():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128}
    return _spread(LlamaForCausalLM(LlamaConfig(vocab_size=SIZE, bos_token_id=1, eos_token_id=0, **sizes, **heads)))


@functools.cache
def gpt2():
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=SIZE, n_positions=128, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=0
    )
    return _spread(GPT2LMHeadModel(config))


@functools.cache
def gemma():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 1, "max_position_embeddings": 128}
    return _spread(
        GemmaForCausalLM(GemmaConfig(vocab_size=SIZE, bos_token_id=1, eos_token_id=0, pad_token_id=0, **sizes, **heads))
    )


@functools.cache
def t5():
    torch.manual_seed(0)
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    ids = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1}
    return _spread(T5ForConditionalGeneration(T5Config(vocab_size=SIZE, dropout_rate=0.0, **sizes, **ids)), times=1)


def _bert(kind, **more):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    return _spread(kind(BertConfig(vocab_size=SIZE, max_position_embeddings=64, pad_token_id=0, **sizes, **more)))


@functools.cache
def bert_classifier():
    return _bert(BertForSequenceClassification, num_labels=3)


@functools.cache
def bert_masked():
    return _bert(BertForMaskedLM)


CAUSAL = {"llama": llama, "gpt2": gpt2, "gemma": gemma}
