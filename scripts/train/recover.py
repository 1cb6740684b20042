"""A shipped GGUF -> build/model.pt + build/tokenizer.json, so that `train.py --resume` can continue from it.

    python recover.py [model.gguf]
"""

import sys
from dataclasses import asdict
from pathlib import Path

import gguf
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from data import HERE, SPECIALS
from export import NAMES, OUT
from model import Config


def main():
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent.parent / "worker-agent/models/ligand-embedded.gguf"
    reader = gguf.GGUFReader(str(source))
    value = lambda name: reader.fields[name].contents()
    vocab = {t: i for i, t in enumerate(value("tokenizer.ggml.tokens"))}
    # export.py added these entries to fill the table. The tokenizer does not have them.
    vocab = {t: i for t, i in vocab.items() if not t.startswith("<|unused_")}
    tokenizer = Tokenizer(models.BPE(vocab, [tuple(m.split(" ")) for m in value("tokenizer.ggml.merges")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIALS])

    config = Config(
        vocab=value("llama.vocab_size"), dim=value("llama.embedding_length"), layers=value("llama.block_count"),
        heads=value("llama.attention.head_count"), hidden=value("llama.feed_forward_length"),
        context=value("llama.context_length"), rope_base=value("llama.rope.freq_base"),
    )  # fmt: skip
    tensors = {t.name: torch.from_numpy(gguf.quants.dequantize(t.data, t.tensor_type)).clone() for t in reader.tensors}
    state = {"embed.weight": tensors["token_embd.weight"], "norm.weight": tensors["output_norm.weight"]}
    for i in range(config.layers):
        for ours, theirs in NAMES.items():
            state[f"blocks.{i}.{ours}.weight"] = tensors[f"blk.{i}.{theirs}.weight"]

    OUT.mkdir(exist_ok=True)
    tokenizer.save(str(OUT / "tokenizer.json"))
    torch.save({"config": asdict(config), "state": state}, OUT / "model.pt")
    print(f"{sum(v.numel() for v in state.values()):,} parameters, {len(vocab)} tokens")


if __name__ == "__main__":
    main()
