"""build/model.pt + build/tokenizer.json -> GGUF (Q8_0 matrices, F32 norms).

    python export.py [output.gguf]
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
import torch

from tokenizers import Tokenizer

from data import END_OF_TEXT, HERE, IM_END, SPECIALS, Sampler

OUT = HERE / "build"
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NAMES = {
    "attention_norm": "attn_norm", "ffn_norm": "ffn_norm", "q": "attn_q", "k": "attn_k", "v": "attn_v",
    "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down",
}  # fmt: skip


def token_samples(tokenizer: Tokenizer, target: Path):
    """Writes strings and their token ids for tokens.ts, which compares them with llama.cpp's."""
    sampler = Sampler(seed=11)
    texts = [sampler.question(p) for p in sampler.pairs]
    texts += [p.answer for p in sampler.pairs]
    texts += ["  two  spaces ", "tabs\tand\n\nlines \n", "naïve café — “quotes” …", "日本語 и русский", "🙂👍🏽", "a1b22 3.14 1,000",
              "I'm we'll DON'T it's", "x" * 50, "<|not_a_marker|>", "{\"answer\": [1, 2]}"]  # fmt: skip
    target.write_text(json.dumps([{"text": t, "ids": tokenizer.encode(t, add_special_tokens=False).ids} for t in texts]))


def main():
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent.parent / "worker-agent/models/ligand-embedded.gguf"
    source = Path(sys.argv[2]) if len(sys.argv) > 2 else OUT
    saved = torch.load(source / "model.pt", map_location="cpu")
    config, state = saved["config"], saved["state"]
    bpe = json.loads((source / "tokenizer.json").read_text())["model"]
    ids = dict(bpe["vocab"]) | {}
    tokens = sorted(ids, key=ids.get)
    while len(tokens) < config["vocab"]:
        tokens.append(f"<|unused_{len(tokens)}|>")
    normal, control = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    types = [control if t in SPECIALS or t.startswith("<|unused_") else normal for t in tokens]

    w = gguf.GGUFWriter(str(target), "llama")
    w.add_name("ligand-embedded")
    w.add_description("Answers questions about Ligand; trained from scratch by the Ligand project.")
    w.add_license("apache-2.0")
    w.add_languages(["en"])
    w.add_context_length(config["context"])
    w.add_embedding_length(config["dim"])
    w.add_block_count(config["layers"])
    w.add_feed_forward_length(config["hidden"])
    w.add_head_count(config["heads"])
    w.add_head_count_kv(config["heads"])
    w.add_rope_dimension_count(config["dim"] // config["heads"])
    w.add_rope_freq_base(config["rope_base"])
    w.add_layer_norm_rms_eps(config["norm_eps"])
    w.add_vocab_size(config["vocab"])
    w.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in bpe["merges"]])
    w.add_bos_token_id(ids[END_OF_TEXT])
    w.add_eos_token_id(ids[IM_END])
    w.add_eot_token_id(ids[IM_END])
    w.add_pad_token_id(ids[END_OF_TEXT])
    w.add_add_bos_token(False)
    w.add_chat_template(TEMPLATE)

    def add(name: str, value: torch.Tensor):
        data = value.float().numpy()
        if data.ndim == 1:
            w.add_tensor(name, data)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            w.add_tensor(name, gguf.quants.quantize(np.ascontiguousarray(data), kind), raw_dtype=kind)

    add("token_embd.weight", state["embed.weight"])
    add("output_norm.weight", state["norm.weight"])
    for i in range(config["layers"]):
        for ours, theirs in NAMES.items():
            add(f"blk.{i}.{theirs}.weight", state[f"blocks.{i}.{ours}.weight"])
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    print(target, target.stat().st_size)
    token_samples(Tokenizer.from_file(str(source / "tokenizer.json")), source / "tokens.json")


if __name__ == "__main__":
    main()
