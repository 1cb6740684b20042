"""Byte-level BPE ("gpt2" with the "gpt-2" pre-tokenizer in llama.cpp), trained on the corpus."""

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from data import IM_END, IM_START, SPECIALS, Sampler


def train(vocab: int, path: Path) -> Tokenizer:
    sampler = Sampler(seed=7)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()

    def texts():
        yield from ["system\n", "user\n", "assistant\n"] * 1000
        for pair in sampler.pairs:
            for _ in range(12):
                yield pair.answer
            for wording in pair.wordings:
                for _ in range(4):
                    yield sampler.expand(wording)
            for _ in range(20):
                yield sampler.question(pair)

    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=SPECIALS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    tokenizer.save(str(path))
    return tokenizer


class Encoder:
    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        # Random merges are skipped, so that the model also learns words in smaller pieces (BPE-dropout, arXiv:1910.13267).
        self.broken = Tokenizer.from_str(tokenizer.to_str())
        self.broken.model.dropout = 0.1
        self.bos, self.start, self.end = (tokenizer.token_to_id(t) for t in SPECIALS)
        self.head = {role: [self.start, *self.text(role + "\n")] for role in ("system", "user", "assistant")}
        self.newline = self.text("\n")
        self.cache: dict[str, list[int]] = {}
        self.lengths: dict[str, int] = {}

    def text(self, text: str) -> list[int]:
        assert IM_START not in text and IM_END not in text
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def pieces(self, text: str) -> list[int]:
        return self.broken.encode(text, add_special_tokens=False).ids

    def cached(self, text: str) -> list[int]:
        if text not in self.cache:
            self.cache[text] = self.text(text)
        return self.cache[text]

    def distinguishing_length(self, answer: str, sampler: Sampler) -> int:
        """The number of tokens that distinguish the beginning of this answer from all others, at least six."""
        if not self.lengths:
            answers = [self.cached(p.answer) for p in sampler.pairs]
            for p, ids in zip(sampler.pairs, answers):
                same = lambda other: next((i for i, (a, b) in enumerate(zip(ids, other)) if a != b), len(ids))
                self.lengths[p.answer] = max(6, 3 + max(same(o) for o in answers if o is not ids))
        return self.lengths.get(answer, 12)
